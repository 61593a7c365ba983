package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Profile is a named set of settings.
type Profile struct {
	Name    string
	Extends string
	Match   []string
	// Files are those that define a part of it, the weakest first.
	Files []string
}

// Profiles lists the profiles by name.
func (s *Settings) Profiles() []Profile {
	byName := map[string]*Profile{}
	for _, d := range s.files.documents {
		for _, name := range d.Profiles() {
			p := byName[name]
			if p == nil {
				p = &Profile{Name: name}
				byName[name] = p
			}
			p.addDocument(d)
		}
	}
	var all []Profile
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, *byName[name])
	}
	return all
}

// addDocument adds the part that stands in d, whose types have been checked.
func (p *Profile) addDocument(d *file.Document) {
	p.Files = append(p.Files, d.Path)
	if raw, ok := d.At([]string{file.ProfilesKey, p.Name, keyExtends}); ok {
		p.Extends, _ = value.ParseText(raw)
	}
	if raw, ok := d.At([]string{file.ProfilesKey, p.Name, keyMatch}); ok {
		p.Match, _ = value.ParseList(raw)
	}
}

// chain lists a profile after those that it extends, the furthest first.
func (s *Settings) chain(name string) ([]Profile, error) {
	all := s.Profiles()
	var chain []Profile
	var names []string
	for name != "" {
		i := slices.IndexFunc(all, func(p Profile) bool { return p.Name == name })
		if i < 0 {
			return nil, unknownProfile(name, all, names)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("profiles extend each other in a circle: %s", strings.Join(append(names, name), " -> "))
		}
		names = append(names, name)
		chain = append(chain, all[i])
		name = all[i].Extends
	}
	slices.Reverse(chain)
	return chain, nil
}

// UnknownProfile is the error for the name of a profile that does not exist.
type UnknownProfile struct {
	// Name is empty for one that a flag or a variable names: to other programs -p
	// is a password.
	Name    string
	Extends string // the profile that extends it; empty if a user named it
	Nearest string // the profile that was probably meant, empty if none is close
	Known   []string
}

func (e *UnknownProfile) Error() string {
	if e.Extends != "" {
		return fmt.Sprintf("profile %q extends %q, which does not exist", e.Extends, e.Name)
	}
	if e.Name == "" {
		return "no such profile"
	}
	return fmt.Sprintf("unknown profile %q", e.Name)
}

// Hint names the profile that was probably meant, or those that there are.
func (e *UnknownProfile) Hint() string {
	switch {
	case e.Nearest != "":
		return fmt.Sprintf("did you mean %q?", e.Nearest)
	case len(e.Known) > 0:
		return "there are: " + strings.Join(e.Known, ", ")
	}
	return "no configuration file defines a profile"
}

func unknownProfile(name string, all []Profile, on []string) error {
	e := &UnknownProfile{Name: name}
	for _, p := range all {
		e.Known = append(e.Known, p.Name)
	}
	e.Nearest = value.Nearest(name, e.Known)
	if len(on) > 0 {
		e.Extends = on[len(on)-1]
	}
	return e
}

// profileLayer is the layer of a profile, with those that it extends.
func (s *Settings) profileLayer(name string) (layer, error) {
	chain, err := s.chain(name)
	if err != nil {
		return nil, err
	}
	if err := s.ofProfiles(chain); err != nil {
		return nil, err
	}
	var places []file.Place
	for _, p := range chain {
		places = append(places, s.files.places(p.Name)...)
	}
	return newFileLayer(FromProfile, settingKeys(), places)
}

// byPattern finds the profile whose pattern fits the reference best: the one
// with the longest text before its first wildcard, and of two equal ones the
// one without a wildcard.
func (s *Settings) byPattern(ref source.Ref) (name, pattern string, err error) {
	var best claim
	var rivals []string
	for _, p := range s.Profiles() {
		c := p.claim(ref)
		switch {
		case c.strength == 0 || c.strength < best.strength:
		case c.strength > best.strength:
			best, rivals = c, []string{p.Name}
		default:
			rivals = append(rivals, p.Name)
		}
	}
	switch len(rivals) {
	case 0:
		return "", "", nil
	case 1:
		return rivals[0], best.pattern, nil
	}
	return "", "", fmt.Errorf("profiles %s have an equal claim to %s: make one pattern longer, or choose with --profile",
		strings.Join(rivals, " and "), ref.Name)
}

// claim is how well a profile fits a reference; strength 0 is not at all.
type claim struct {
	pattern  string
	strength int
}

func (p Profile) claim(ref source.Ref) claim {
	var best claim
	for _, pattern := range p.Match {
		parsed, err := source.ParsePattern(pattern)
		if err != nil { // a finding of check
			continue
		}
		if strength := parsed.Fit(ref); strength > best.strength {
			best = claim{pattern, strength}
		}
	}
	return best
}

// ShowProfile lists the settings of a profile and of those that it extends.
func (s *Settings) ShowProfile(name string) ([]Resolved, error) {
	l, err := s.profileLayer(name)
	if err != nil {
		return nil, err
	}
	r, err := resolve([]layer{l})
	if err != nil {
		return nil, err
	}
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(cfg.Resolved(), func(r Resolved) bool { return r.From.Kind != FromProfile }), nil
}

// WithProfile returns the configuration as if the profile had been named with
// --profile.
func (s *Settings) WithProfile(name string) (*Config, error) {
	named := *s
	named.flags = s.flags.with(profileChoice(), name)
	return named.Resolve(source.Ref{})
}

// Hosts lists the registries that the patterns of a profile name outright, and
// those that its mirrors stand for.
func (s *Settings) Hosts(name string) []string {
	var hosts []string
	add := func(host string) {
		if host != "" && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	for _, p := range s.Profiles() {
		if p.Name != name {
			continue
		}
		for _, pattern := range p.Match {
			if parsed, err := source.ParsePattern(pattern); err == nil {
				add(parsed.Registry())
			}
		}
	}
	if cfg, err := s.WithProfile(name); err == nil {
		for _, m := range cfg.Registry.Hosts.Mirrors {
			if m.Host != "*" {
				add(source.CanonicalHost(m.Host))
			}
		}
	}
	return hosts
}
