package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	keyDefaultRegistry = "default_registry"
	keyAliases         = "aliases"
)

// shortSettings say what short names stand for.
func shortSettings() []*Setting {
	return []*Setting{
		{
			Key:         keyDefaultRegistry,
			DefaultNote: "docker.io, as Docker completes names",
			Usage:       "`registry`, with or without a path in it, that short names are completed by",
			Group:       GroupSelection,
			bind:        func(c *Config) value.Value { return registryValue{value.Text(&c.Short.Registry)} },
		},
		{
			Key:   keyAliases,
			Usage: "what a short name stands for, without a tag: `name=registry/repository`",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Table(&c.Short.Aliases, checkAlias) },
		},
	}
}

// Short is what short names stand for, which have no registry.
type Short struct {
	Registry string            // and a path in it; empty for Docker's completion
	Aliases  map[string]string // repositories by their short names
}

// complete completes the name of an image. A full name stays as it is.
func (s Short) complete(typed string) (string, *Setting) {
	if !source.IsShort(typed) {
		return typed, nil
	}
	name, rest := typed, ""
	if i := strings.IndexAny(typed, ":@"); i >= 0 {
		name, rest = typed[:i], typed[i:]
	}
	if full := s.Aliases[name]; full != "" {
		return full + rest, shortSettings()[1]
	}
	if s.Registry != "" {
		return s.Registry + "/" + typed, shortSettings()[0]
	}
	return typed, nil
}

// Ref parses the name of an image, as the settings complete it. Which profile
// completes a short name is said by the call, by its environment or by default, but not
// by a pattern: patterns are about full names. The completed name has to lead to the
// same profile, so that the short names of one never lead to another.
func (s *Settings) Ref(typed string) (source.Ref, error) {
	ref, err := source.ParseRef(typed)
	if err != nil || !source.IsShort(typed) {
		return ref, err
	}
	by, err := s.shortNames(source.Ref{})
	if err != nil {
		return ref, err
	}
	full, setting := by.cfg.Short.complete(typed)
	if setting == nil {
		return ref, nil
	}
	if ref, err = source.ParseRef(full); err != nil || by.chosen[setting.Key].from().Kind != FromProfile {
		return ref, err
	}
	of, err := s.shortNames(ref)
	if err == nil && of.cfg.Profile != by.cfg.Profile {
		err = fmt.Errorf("%s of profile %s makes %s of %s, which profile %s is for: name the profile with --profile, or the image in full",
			setting.Key, by.cfg.Profile, ref.Name, typed, of.cfg.Profile)
	}
	return ref, err
}

// shortNamer is what completes the short names of a call.
type shortNamer struct {
	*resolution
	cfg *Config
}

// shortNames resolves no more than is needed to complete a name.
func (s *Settings) shortNames(ref source.Ref) (shortNamer, error) {
	layers, err := s.layers(ref)
	if err != nil {
		return shortNamer{}, err
	}
	n := shortNamer{&resolution{layers: layers, chosen: map[string]choice{}}, new(Config)}
	for _, setting := range append(shortSettings(), profileChoice()) {
		if err := n.choose(setting); err != nil {
			return shortNamer{}, err
		}
		if err := n.chosen[setting.Name()].apply(n.cfg); err != nil {
			return shortNamer{}, err
		}
	}
	return n, nil
}

// registryValue is a registry, or a path in one.
type registryValue struct{ value.Value }

func (v registryValue) Set(raw any) error {
	text, err := value.ParseText(raw)
	if err == nil && text != "" {
		err = checkRepository(text + "/x")
	}
	if err != nil {
		return err
	}
	return v.Value.Set(raw)
}

// checkAlias refuses what is no short name, and what is no repository with its
// registry.
func checkAlias(name, full string) error {
	if _, err := source.ParseRef(name); err != nil {
		return err
	}
	if !source.IsShort(name) || strings.ContainsAny(name, ":@") {
		return fmt.Errorf("alias %q: want a name without a registry and a tag", name)
	}
	if err := checkRepository(full); err != nil {
		return fmt.Errorf("alias %q: %w", name, err)
	}
	return nil
}

func checkRepository(name string) error {
	if _, err := source.ParseRef(name); err != nil {
		return err
	}
	if source.IsShort(name) || strings.ContainsAny(name[strings.LastIndex(name, "/"):], ":@") {
		return errors.New("want a name that begins with its registry and has no tag")
	}
	return nil
}
