package config

import (
	"fmt"
)

// Kind is the sort of source that a value came from.
type Kind string

const (
	BuiltIn     Kind = "built-in"
	FromNerdctl Kind = "nerdctl.toml"
	FromFile    Kind = "file"
	FromProfile Kind = "profile"
	FromEnv     Kind = "environment"
	FromFlag    Kind = "flag"
	// FromLine is the line of a list that names the image.
	FromLine Kind = "list"
	// FromPattern is a profile chosen by a reference.
	FromPattern Kind = "pattern"
	// Excluded marks a setting that a stronger one rules out.
	Excluded Kind = "excluded"
)

// Origin is where a value was found.
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
	case FromFile, FromNerdctl, FromLine:
		return o.where()
	case FromProfile:
		return fmt.Sprintf("profile %s (%s)", o.Name, o.where())
	case Excluded:
		return "not used beside " + o.Name
	}
	return string(o.Kind)
}

// isTyped reports whether a person or a script gave the value to this call.
func (o Origin) isTyped() bool { return o.Kind == FromFlag || o.Kind == FromEnv }

func (o Origin) where() string { return fmt.Sprintf("%s:%d", o.File, o.Line) }

// subject names the origin of the setting s inside a sentence.
func (o Origin) subject(s *Setting) string {
	switch o.Kind {
	case FromFlag, FromEnv, FromLine:
		return o.Name
	}
	return fmt.Sprintf("%s (%s)", s.Name(), o)
}
