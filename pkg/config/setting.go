package config

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// Group is a heading under which help lists settings.
type Group string

const (
	GroupDestination  Group = "Destination"
	GroupSelection    Group = "Selection"
	GroupRegistry     Group = "Registry"
	GroupCredentials  Group = "Credentials"
	GroupVerification Group = "Verification"
	GroupLimits       Group = "Retries and limits"
	GroupOutput       Group = "Output"
)

// Groups are the headings in the order of help.
func Groups() []Group {
	return []Group{GroupDestination, GroupSelection, GroupRegistry, GroupCredentials, GroupVerification, GroupLimits, GroupOutput}
}

// GroupOf returns the group of a flag's setting; it is empty for a flag that
// sets none.
func GroupOf(flag *pflag.Flag) Group {
	if names := flag.Annotations[groupAnnotation]; len(names) > 0 {
		return Group(names[0])
	}
	return ""
}

// IsCommon reports whether help shows a flag first, among the few that most calls need.
func IsCommon(flag *pflag.Flag) bool {
	v := valueOf(flag)
	return v != nil && v.setting.Common && v.spelling == v.setting.Flags[0]
}

// Flag is one spelling of a setting on the command line.
type Flag struct {
	Name   string
	Short  string
	Hidden bool // accepted, but absent from help and completion
}

// Setting is one thing that a user can set, by a flag, a variable or a key of
// a file, and the field that receives it. The table of settings is the only
// place where names, defaults and meanings are written down: flags, variables,
// files, help, schema and reference follow from it.
type Setting struct {
	// Key is its name in files, with dots between tables. It is empty for what
	// makes sense for one call only; such a setting has no variable either.
	Key string
	// Flags are its spellings; the first is the one that messages use.
	Flags []Flag
	// Own is its variable, where that does not follow from Key.
	Own string
	// Env are the variables of other programs that set it too. They are weaker
	// than its own, which follows from Key.
	Env []string
	// Default is the built-in value in the syntax of the flag.
	Default string
	// DefaultNote describes the default where Default is empty or tells too little.
	DefaultNote string
	// Usage is a phrase for help; a back-quoted word names the value.
	Usage string
	Group Group
	// Common is set for the few flags that users look for first.
	Common bool

	bind     func(*Config) value.Value
	fallback func(Caller) string // the Default, where it depends on the caller
}

// blank is what shapes are asked of; nothing is ever set in it.
var blank Config

func (s *Setting) shape() value.Shape { return s.bind(&blank).Shape() }

// Name is how messages call the setting.
func (s *Setting) Name() string {
	if s.Key != "" {
		return s.Key
	}
	return "--" + s.Flags[0].Name
}

// EnvNames are the variables that set s, the strongest first.
func (s *Setting) EnvNames() []string {
	switch {
	case s.Own != "":
		return append([]string{s.Own}, s.Env...)
	case s.Key == "":
		return nil
	}
	return append([]string{variablePrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))}, s.Env...)
}

// show returns a text of the setting as it may be shown, with secrets masked.
func (s *Setting) show(text string) string {
	v := s.bind(new(Config))
	if err := v.Set(value.Texts{text}); err != nil {
		return text
	}
	return v.String()
}

// visible are the spellings that help shows.
func (s *Setting) visible() []string {
	var names []string
	for _, f := range s.Flags {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	}
	return names
}

// spellings lists what may have been typed for s.
func (s *Setting) spellings() string {
	names := s.visible()
	for _, f := range s.Flags {
		if f.Short != "" {
			names = append(names, "-"+f.Short)
		}
	}
	return strings.Join(names, " and ")
}
