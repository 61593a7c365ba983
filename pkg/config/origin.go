package config

import (
	"fmt"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// Kind says what sort of place a value came from.
type Kind string

const (
	BuiltIn     Kind = "built-in"
	FromNerdctl Kind = "nerdctl.toml"
	FromFile    Kind = "file"
	FromProfile Kind = "profile"
	FromEnv     Kind = "environment"
	FromFlag    Kind = "flag"
	// FromPattern is a profile chosen by a reference.
	FromPattern Kind = "pattern"
	// Excluded marks a setting that a stronger one rules out.
	Excluded Kind = "excluded"
)

// Origin says where a value was found.
type Origin struct {
	Kind Kind
	// Name is the flag with its dashes, the variable, the profile, or the
	// pattern; of Excluded, the setting that rules it out.
	Name string
	// File and Line are set for what was read from a file.
	File string
	Line int
}

func (o Origin) String() string {
	switch o.Kind {
	case FromFlag:
		return "flag " + o.Name
	case FromEnv:
		return "environment " + o.Name
	case FromPattern:
		return "pattern " + o.Name
	case FromFile, FromNerdctl:
		return o.where()
	case FromProfile:
		return fmt.Sprintf("profile %s (%s)", o.Name, o.where())
	case Excluded:
		return "not used beside " + o.Name
	}
	return string(o.Kind)
}

func (o Origin) where() string { return fmt.Sprintf("%s:%d", o.File, o.Line) }

// subject names the origin of the setting s inside a sentence.
func (o Origin) subject(s *Setting) string {
	switch o.Kind {
	case FromFlag, FromEnv:
		return o.Name
	}
	return fmt.Sprintf("%s (%s)", s.Name(), o)
}

// settingValue is what one layer holds for a setting.
type settingValue struct {
	raw  any
	from Origin
	// depth orders what one layer holds: a later file is stronger than an
	// earlier one, a profile than the one that it extends.
	depth int
}

// layer is a place where settings may be said: the flags, the environment, a
// profile, the files, the built-in defaults.
type layer interface {
	lookup(s *Setting) (settingValue, bool, error)
}

// builtIn is the weakest layer.
type builtIn struct{ caller Caller }

func (b builtIn) lookup(s *Setting) (settingValue, bool, error) {
	text := s.Default
	if s.fallback != nil {
		text = s.fallback(b.caller)
	}
	if other, ok := b.caller.Defaults[s.Key]; ok {
		text = other
	}
	return settingValue{raw: value.Texts{text}, from: Origin{Kind: BuiltIn}}, text != "", nil
}

// environment is the layer of variables.
type environment struct{ caller Caller }

func (e environment) lookup(s *Setting) (settingValue, bool, error) {
	for _, name := range s.EnvNames() {
		if text, ok := e.caller.Lookup(name); ok {
			return settingValue{raw: occurrences(s, text), from: Origin{Kind: FromEnv, Name: name}}, true, nil
		}
	}
	return settingValue{}, false, nil
}

// occurrences gives a variable the power of a repeated flag: a table may have
// several pairs, with commas between them. A value that holds a comma itself
// needs a flag or a file.
func occurrences(s *Setting, text string) value.Texts {
	if s.shape().Type == "object" {
		return value.Texts{text}.Split()
	}
	return value.Texts{text}
}

// choiceOfProfile is the layer of the profile that a pattern chose.
type choiceOfProfile struct{ name, pattern string }

func (c choiceOfProfile) lookup(s *Setting) (settingValue, bool, error) {
	return settingValue{raw: value.Texts{c.name}, from: Origin{Kind: FromPattern, Name: c.pattern}}, s.Key == keyDefault, nil
}
