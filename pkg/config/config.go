// Package config resolves what a call is to do: it reads flags, variables,
// files and profiles in their order of precedence and fills the option structs
// of the packages that do the work, keeping the origin of each value.
//
// Table declares every setting once; Load reads the sources; Settings.Resolve
// gives a Config. The package decides nothing about pulls and opens neither
// stores nor connections. Its parts are config/value, the kinds of values, and
// config/file, the files and how they merge. Read table.go next, then resolve.go.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// Config is the outcome: the option structs of the packages, filled.
type Config struct {
	Store    store.Options
	Registry registry.Options
	// Request lacks its Ref.
	Request pull.Request
	Limits  pull.Limits
	Verify  trust.Options
	Login   Login
	// Credentials are what is configured for hosts.
	Credentials []credential.Entry
	// AuthFile is in Docker's form. AuthFileStated says that it was given for
	// this call and replaces the user's own files.
	AuthFile       string
	AuthFileStated bool
	// Timeout bounds the whole call; 0 means no bound.
	Timeout  time.Duration
	Quiet    bool
	Progress string
	// OutputStyle is one of the styles; Format is empty, "json" or
	// "go-template=" and a template; Print holds kinds in order. At most one
	// of the three says something.
	OutputStyle  string
	Format       string
	Print        []string
	PrintChainID bool // ctr's line
	// DigestFile gets the digests of what was pulled.
	DigestFile string
	// ChangedExitCode takes the place of 0 if something changed, unless it is 0.
	ChangedExitCode int
	// Timeline is the file that gets a picture of the pull; empty means none.
	Timeline  string
	HTTPDump  bool
	HTTPTrace bool
	Debug     bool
	DebugFull bool
	// Experimental is nerdctl's switch for what it does not promise to keep.
	Experimental bool
	// AllMetadata was stated; it is the default and only excludes its opposite.
	AllMetadata bool
	// NoContentTrust was stated; there is none.
	NoContentTrust bool

	// Profile is the name of the profile in use; empty if there is none.
	Profile string
	// File is the configuration file that was named for this call.
	File string

	resolved []Resolved // without the values
}

// Login holds the credential of the command line.
type Login struct {
	User          string // USER[:PASSWORD]
	Username      string // USER
	PasswordStdin bool
	Refresh       string // refresh token
}

// Resolved is one setting with its value and where that came from.
type Resolved struct {
	Setting *Setting
	Value   string // in the syntax of the flag, with secrets masked
	Plain   any    // as a file would hold it, with secrets masked
	From    Origin
}

// Settings are all sources, read.
type Settings struct {
	caller Caller
	flags  *Flags
	files  *files
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
// error, even where this call would not use it.
func Load(caller Caller, flags *Flags) (*Settings, error) {
	s, err := Read(caller, flags)
	if err != nil {
		return nil, err
	}
	if wrong := s.Findings(); len(wrong) > 0 {
		return nil, wrong[0]
	}
	return s, nil
}

// Findings lists what is wrong in the files.
func (s *Settings) Findings() []*file.Error { return s.files.check(s.caller) }

// Warnings lists what is strange in files but not ours to judge.
func (s *Settings) Warnings() []string { return s.files.warnings }

// Files lists the files that were read, the weakest first.
func (s *Settings) Files() []string {
	var paths []string
	if s.files.nerdctl != nil {
		paths = append(paths, s.files.nerdctl.Path)
	}
	for _, d := range s.files.documents {
		paths = append(paths, d.Path)
	}
	return paths
}

// Resolve gives the configuration for a reference. The zero Ref stands for a
// call that has none: no pattern chooses a profile for it.
func (s *Settings) Resolve(ref source.Ref) (*Config, error) {
	layers, err := s.layers(ref)
	if err != nil {
		return nil, err
	}
	r := resolution{layers: layers, chosen: make(map[string]choice)}
	for _, setting := range Table() {
		if err := r.choose(setting); err != nil {
			return nil, err
		}
	}
	if err := r.exclude(); err != nil {
		return nil, err
	}
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	return cfg, cfg.finish(value.LabelFields{Profile: cfg.Profile, Ref: ref.Name, Time: s.caller.now().Format(time.RFC3339)})
}

// layers orders the sources for a reference, the weakest first.
func (s *Settings) layers(ref source.Ref) ([]layer, error) {
	all := []layer{builtIn{s.caller}}
	files, err := s.files.layers()
	if err != nil {
		return nil, err
	}
	all = append(all, files...)
	env := environment{s.caller}
	named, ok, err := s.flags.lookup(profileChoice())
	if err != nil {
		return nil, err
	}
	if ok {
		profile, err := s.optionalProfile(named)
		return append(append(append(all, env), profile...), s.flags), err
	}
	profile, err := s.implicitProfile(ref, append(all, env))
	return append(append(append(all, profile...), env), s.flags), err
}

// implicitProfile is the profile of a call that names none by flag: that of the
// environment, of a pattern, or the default of the files.
func (s *Settings) implicitProfile(ref source.Ref, layers []layer) ([]layer, error) {
	if what, ok, err := (environment{s.caller}).lookup(profileChoice()); ok || err != nil {
		return s.mustProfile(what, err)
	}
	if ref.Domain != "" {
		name, pattern, err := s.byPattern(ref)
		if err != nil {
			return nil, err
		}
		if name != "" {
			profile, err := s.profileLayer(name)
			return []layer{profile, choiceOfProfile{name, pattern}}, err
		}
	}
	for _, l := range slices.Backward(layers) {
		if what, ok, err := l.lookup(profileChoice()); ok || err != nil {
			return s.mustProfile(what, err)
		}
	}
	return nil, nil
}

func (s *Settings) mustProfile(what settingValue, err error) ([]layer, error) {
	if err != nil {
		return nil, err
	}
	return s.optionalProfile(what)
}

// optionalProfile is the layer of a profile; an empty name means none.
func (s *Settings) optionalProfile(what settingValue) ([]layer, error) {
	name, err := value.ParseText(what.raw)
	if err != nil || name == "" {
		return nil, err
	}
	profile, err := s.profileLayer(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what.from.subject(profileChoice()), err)
	}
	return []layer{profile}, nil
}

// Resolved lists every setting that a call can have, in the order of Table.
func (c *Config) Resolved() []Resolved {
	all := slices.Clone(c.resolved)
	for i := range all {
		v := all[i].Setting.bind(c)
		all[i].Value, all[i].Plain = v.String(), v.Plain()
	}
	return all
}

// Origin says where the value of a setting came from.
func (c *Config) Origin(name string) Origin {
	for _, r := range c.resolved {
		if r.Setting.Name() == name {
			return r.From
		}
	}
	return Origin{}
}

// notForTransfer names what was set that the daemon's transfer service cannot
// be told. The rest depends on the reference, and pkg/registry knows it.
func (c *Config) notForTransfer() []string {
	var names []string
	if c.Request.DiscardLayers {
		names = append(names, "--discard-layers (keep_layers = false)")
	}
	for _, r := range c.Resolved() {
		group, _, _ := strings.Cut(r.Setting.Key, ".")
		switch group {
		case "retry", "limits", "stall_timeout", "sync_fs":
			if r.From.Kind != BuiltIn && r.Value != "false" && r.Value != "" {
				names = append(names, r.From.subject(r.Setting))
			}
		}
	}
	return names
}

// checkTransfer refuses what has no effect with the transfer service, or has
// auto keep away from it.
func (c *Config) checkTransfer() error {
	names := c.notForTransfer()
	switch {
	case len(names) == 0:
		return nil
	case c.Request.Engine == pull.EngineTransfer:
		return fmt.Errorf("%s has no effect with engine transfer", names[0])
	}
	c.Request.NotForTransfer = names
	return nil
}

// checkVerify refuses a policy that no verifier can keep, and one that nobody
// keeps: where no mode is set, whoever set the rest takes it to be in force.
func (c *Config) checkVerify() error {
	if checksSignatures(c.Verify.Mode) {
		return fmt.Errorf("%s: %w", c.Origin(keyVerifyMode).subject(verifyMode()), c.noSignatures())
	}
	if _, err := trust.New(c.Verify); err != nil {
		return fmt.Errorf("%s: %w", c.Origin(keyVerifyMode).subject(verifyMode()), err)
	}
	if c.Origin(keyVerifyMode).Kind != BuiltIn {
		return nil
	}
	for _, r := range c.resolved {
		if group, _, _ := strings.Cut(r.Setting.Key, "."); group == "verify" && r.From.Kind != BuiltIn {
			return fmt.Errorf("%s has no effect without a mode: set verify.mode, or give --verify", r.From.subject(r.Setting))
		}
	}
	return nil
}

// finish applies what follows from several settings at once.
func (c *Config) finish(fields value.LabelFields) error {
	for key, val := range c.Request.Labels {
		filled, err := fields.Expand(val)
		if err != nil {
			return err
		}
		c.Request.Labels[key] = filled
	}
	if (c.Registry.Cert == "") != (c.Registry.Key == "") {
		return fmt.Errorf("tls.cert and tls.key (--tlscert and --tlskey) need each other")
	}
	if err := errors.Join(c.checkPrint(), c.checkTransfer(), c.checkVerify()); err != nil {
		return err
	}
	c.finishOutput()
	if c.DebugFull {
		c.Debug, c.HTTPTrace = true, true
	}
	from := c.Origin("authfile").Kind
	c.AuthFileStated = from == FromFlag || from == FromEnv
	return nil
}

// ResolveAll gives the configuration of each reference, and that of what
// concerns the whole call, such as its time limit and its display. The latter
// follows a pattern only if all references agree about it.
func (s *Settings) ResolveAll(refs []source.Ref) (call *Config, each []*Config, err error) {
	agreed := true
	for _, ref := range refs {
		cfg, err := s.Resolve(ref)
		if err != nil {
			return nil, nil, err
		}
		each = append(each, cfg)
		agreed = agreed && cfg.Profile == each[0].Profile
	}
	if agreed && len(each) > 0 {
		return each[0], each, nil
	}
	call, err = s.Resolve(source.Ref{})
	return call, each, err
}

// NamedFile is the file that --config or its variable names, empty if neither
// does.
func (f *Flags) NamedFile(caller Caller) (string, error) {
	for _, l := range []layer{f, environment{caller}} {
		what, ok, err := l.lookup(configFile())
		if err != nil {
			return "", err
		}
		if ok {
			return value.ParseText(what.raw)
		}
	}
	return "", nil
}

// FileSettings are the settings of commands that read files and nothing else.
func FileSettings() []*Setting { return []*Setting{configFile()} }

// HostSettings are the settings of commands that look at registries and pull
// nothing.
func HostSettings() []*Setting {
	all := []*Setting{profileChoice(), configFile()}
	for _, s := range append(registrySettings(), credentialSettings()...) {
		if s.Key != "" {
			all = append(all, s)
		}
	}
	return all
}

// ProfileSettings are the settings of commands that look at one profile.
func ProfileSettings() []*Setting { return []*Setting{profileChoice(), configFile()} }

// CredentialOptions says where the credentials are for this configuration, own
// being that of the command line.
func (c *Config) CredentialOptions(caller Caller, own *credential.Credential) credential.Options {
	o := credential.Options{Own: own, Entries: c.Credentials, Lookup: caller.Lookup}
	if c.AuthFileStated {
		o.AuthFile = c.AuthFile
	} else {
		o.EntriesFile = c.AuthFile
	}
	return o
}
