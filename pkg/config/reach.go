package config

import (
	"fmt"
	"slices"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// ownCredentials notes in the credentials of a profile whose they are, so that
// they belong to the hosts of its patterns.
func (s *Settings) ownCredentials(cfg *Config) error {
	if cfg.Profile == "" {
		return nil
	}
	chain, err := s.chain(cfg.Profile)
	if err != nil {
		return err
	}
	if cfg.owner, err = ownerOf(chain); err != nil {
		return err
	}
	if cfg.Origin("credentials").Kind == FromProfile {
		for i := range cfg.Credentials {
			cfg.Credentials[i].Profile = cfg.owner
		}
	}
	return nil
}

// ownerOf is the last profile of the chain, as credentials see it. A profile
// without patterns has those of the profile that it extends.
func ownerOf(chain []Profile) (*credential.Profile, error) {
	owner := &credential.Profile{Name: chain[len(chain)-1].Name}
	for _, p := range slices.Backward(chain) {
		if len(p.Match) > 0 {
			match, err := source.ParsePatterns(p.Match)
			if err != nil {
				return nil, fmt.Errorf("profile %s: match: %w", p.Name, err)
			}
			owner.Match = match
			break
		}
	}
	return owner, nil
}

// Warnings lists what may surprise in a pull of ref with this configuration.
func (c *Config) Warnings(ref source.Ref) []string {
	if c.owner.IsFor(ref) {
		return nil
	}
	return []string{fmt.Sprintf("profile %s is for %s, not for %s: its settings are used, its credentials are not", c.Profile, source.List(c.owner.Match), ref.Name)}
}

// Reach is which hosts a configured credential may be sent to, in words.
type Reach struct{ Credential, Hosts string }

// Reach lists the hosts of the credentials that the profile in use holds; without
// a profile, of those outside of profiles.
func (c *Config) Reach() []Reach {
	var list []Reach
	for i, e := range c.Credentials {
		if (e.Profile != nil) == (c.Profile != "") {
			list = append(list, Reach{entryName(i, e), e.Reach()})
		}
	}
	if c.AuthFile != "" && (c.Origin("authfile").Kind == FromProfile) == (c.Profile != "") {
		list = append(list, Reach{"authfile " + c.AuthFile, "those that it names"})
	}
	return list
}

func entryName(i int, e credential.Entry) string {
	return fmt.Sprintf("credentials[%d] (%s)", i, e.Source)
}

// Caveats lists the patterns of the profile in use, and the credentials that Reach
// is about, that may mean something else than their author thought.
func (c *Config) Caveats() []string {
	var list []string
	if c.owner != nil {
		for _, p := range c.owner.Match {
			list = append(list, caveat("match", p)...)
		}
	}
	for i, e := range c.Credentials {
		if (e.Profile != nil) == (c.Profile != "") {
			list = append(list, entryCaveats(entryName(i, e), e)...)
		}
	}
	return list
}

func entryCaveats(name string, e credential.Entry) []string {
	switch {
	case e.IsHomeless():
		return []string{name + " is sent to no host, because neither it nor the profile has a match: give it one"}
	case e.IsOpen():
		return []string{name + " is sent to whatever registry a reference names, because it has no match"}
	}
	var list []string
	for _, text := range e.Match {
		if p, err := source.ParsePattern(text); err == nil {
			list = append(list, caveat(name+": match", p)...)
		}
	}
	return list
}

func caveat(where string, p source.Pattern) []string {
	if text := p.Caveat(); text != "" {
		return []string{fmt.Sprintf("%s %q: %s", where, p.String(), text)}
	}
	return nil
}
