package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// Settings are all sources, read.
type Settings struct {
	caller Caller
	flags  *Flags
	files  *files
	line   Line          // of the list that names the image, zero if none does
	aside  []*file.Error // in profiles, for the calls that use those
}

// Read reads the sources of the settings without judging them; see Findings.
func Read(caller Caller, flags *Flags) (*Settings, error) {
	named, err := flags.NamedFile(caller)
	if err != nil {
		return nil, err
	}
	f, err := readFiles(caller, named)
	if err != nil {
		return nil, err
	}
	return &Settings{caller: caller, flags: flags, files: f}, nil
}

// Load reads the sources of the settings. Anything wrong in a file is an
// error, even where this call would not use it, except for unknown keys of profiles
// that only those need who use them: these are warnings until then.
func Load(caller Caller, flags *Flags) (*Settings, error) {
	s, err := Read(caller, flags)
	if err != nil {
		return nil, err
	}
	for _, wrong := range s.Findings() {
		if wrong.Profile == "" || s.verifies(wrong.Profile) {
			return nil, wrong
		}
		s.aside = append(s.aside, wrong)
	}
	return s, nil
}

// verifies reports whether a profile, or one that it extends, says what may be pulled,
// or might say so.
func (s *Settings) verifies(profile string) bool {
	chain, err := s.chain(profile)
	for _, p := range chain {
		for _, d := range s.files.documents {
			if _, ok := d.At([]string{file.ProfilesKey, p.Name, keyVerify}); ok {
				return true
			}
		}
	}
	return err != nil
}

// ofProfiles returns the first mistake that was set aside in the profiles.
func (s *Settings) ofProfiles(chain []Profile) error {
	for _, p := range chain {
		for _, wrong := range s.aside {
			if wrong.Profile == p.Name {
				return wrong
			}
		}
	}
	return nil
}

// NamedFile is the file that --config or its variable names, empty if neither
// does.
func (f *Flags) NamedFile(caller Caller) (string, error) {
	for _, l := range []layer{f, environment{caller}} {
		named, ok, err := l.lookup(configFile())
		if err != nil {
			return "", err
		}
		if ok {
			return value.ParseText(named.raw)
		}
	}
	return "", nil
}

// Findings lists what is wrong in the files.
func (s *Settings) Findings() []*file.Error { return s.files.check(s.caller) }

// Warnings lists the files that are left out, mistakes in profiles that the call does
// not use, variables that are probably misspelt, and what looks wrong in nerdctl's
// file, which only nerdctl judges.
func (s *Settings) Warnings() []string {
	list := warningsOf(s.files.leftOut)
	for _, wrong := range s.aside {
		list = append(list, strings.TrimSuffix(fmt.Sprintf("%v: no pull with profile %s works; %s", wrong, wrong.Profile, wrong.Remedy), "; "))
	}
	list = append(list, misspelt(s.caller.Environ)...)
	if s.files.nerdctl != nil {
		list = append(list, s.files.nerdctl.warnings...)
	}
	return list
}

func warningsOf(leftOut []*userfile.Foreign) []string {
	var list []string
	for _, f := range leftOut {
		list = append(list, f.Warning())
	}
	return list
}

// Files lists the files that were read, the weakest first.
func (s *Settings) Files() []string {
	var paths []string
	if s.files.nerdctl != nil {
		paths = append(paths, s.files.nerdctl.doc.Path)
	}
	for _, d := range s.files.documents {
		paths = append(paths, d.Path)
	}
	return paths
}

// Resolve returns the configuration for a reference. The zero Ref stands for a
// call that has none: no pattern chooses a profile for it.
func (s *Settings) Resolve(ref source.Ref) (*Config, error) {
	layers, err := s.layers(ref)
	if err != nil {
		return nil, err
	}
	r, err := resolve(layers)
	if err != nil {
		return nil, err
	}
	if err := r.exclude(); err != nil {
		return nil, err
	}
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	if err := s.ownCredentials(cfg); err != nil {
		return nil, err
	}
	cfg.Registry.Getenv = s.caller.Getenv
	return cfg, cfg.finish(value.LabelFields{Profile: cfg.Profile, Ref: ref.Name, Time: s.caller.now().Format(time.RFC3339)})
}

// ResolveAll returns the configuration of each reference, and that of the call.
func (s *Settings) ResolveAll(refs []source.Ref) (call *Config, each []*Config, err error) {
	for _, ref := range refs {
		cfg, err := s.Resolve(ref)
		if err != nil {
			return nil, nil, err
		}
		each = append(each, cfg)
	}
	call, err = s.OfCall(each)
	return call, each, err
}

// OfCall returns the configuration for what concerns a whole call, such as its time
// limit and its display, given those of its references. It follows a pattern only if
// all references agree about it.
func (s *Settings) OfCall(each []*Config) (*Config, error) {
	for _, cfg := range each {
		if cfg.Profile != each[0].Profile {
			return s.Resolve(source.Ref{})
		}
	}
	if len(each) > 0 {
		return each[0], nil
	}
	return s.Resolve(source.Ref{})
}
