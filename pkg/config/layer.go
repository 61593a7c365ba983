package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// settingValue is what one layer holds for a setting.
type settingValue struct {
	raw  any
	from Origin
	// depth orders what one layer holds: a later file is stronger than an
	// earlier one, a profile than the one that it extends.
	depth int
}

// layer is a source of settings: the flags, the environment, a profile, the
// files, the built-in defaults.
type layer interface {
	lookup(s *Setting) (settingValue, bool, error)
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
	for _, typed := range []layer{s.line, s.flags} {
		if named, ok, err := typed.lookup(profileChoice()); ok || err != nil {
			profile, err := s.profileLayers(named, err)
			return append(append(append(all, env), profile...), s.flags, s.line), err
		}
	}
	profile, err := s.implicitProfile(ref, append(all, env))
	return append(append(append(all, profile...), env), s.flags, s.line), err
}

// implicitProfile returns the profile used when no flag names one: from the
// environment, a pattern, or the default of the files.
func (s *Settings) implicitProfile(ref source.Ref, layers []layer) ([]layer, error) {
	if named, ok, err := (environment{s.caller}).lookup(profileChoice()); ok || err != nil {
		return s.profileLayers(named, err)
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
		if named, ok, err := l.lookup(profileChoice()); ok || err != nil {
			return s.profileLayers(named, err)
		}
	}
	return nil, nil
}

// profileLayers is the layer of the named profile, and none for an empty name.
// It passes on the error of looking the name up.
func (s *Settings) profileLayers(named settingValue, err error) ([]layer, error) {
	if err != nil {
		return nil, err
	}
	name, err := value.ParseText(named.raw)
	if err != nil || name == "" {
		return nil, err
	}
	profile, err := s.profileLayer(name)
	if unknown, ok := errors.AsType[*UnknownProfile](err); ok && unknown.Extends == "" && named.from.isTyped() {
		unknown.Name = ""
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", named.from.subject(profileChoice()), err)
	}
	return []layer{profile}, nil
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

// occurrences lets a variable do what a repeated flag does: a table may have
// several pairs, with commas between them. A value that holds a comma itself
// needs a flag or a file.
func occurrences(s *Setting, text string) value.Texts {
	if s.shape().Type == "object" {
		return value.Texts{text}.Split()
	}
	return value.Texts{text}
}

// choiceOfProfile is a layer that holds nothing but the name of the profile that
// a pattern chose.
type choiceOfProfile struct{ name, pattern string }

func (c choiceOfProfile) lookup(s *Setting) (settingValue, bool, error) {
	return settingValue{raw: value.Texts{c.name}, from: Origin{Kind: FromPattern, Name: c.pattern}}, s.Key == keyDefault, nil
}

// fileLayer is a layer of files: tables of the user's own keys merged key by
// key, anything else replaced.
type fileLayer struct {
	kind   Kind
	merged *file.Layer
}

func newFileLayer(kind Kind, keys []string, places []file.Place) (layer, error) {
	merged, err := file.NewLayer(keys, places)
	if err != nil {
		return nil, err
	}
	return fileLayer{kind, merged}, nil
}

func (l fileLayer) lookup(s *Setting) (settingValue, bool, error) {
	found, ok := l.merged.Lookup(s.Key)
	if !ok {
		return settingValue{}, false, nil
	}
	if s.shape().Type == "object" {
		found.Raw = l.merged.Table(s.Key)
	}
	from := Origin{Kind: l.kind, Name: found.Place.Profile, File: found.Place.Document.Path, Line: found.Place.Line(s.Key)}
	return settingValue{raw: found.Raw, from: from, depth: found.Depth}, true, nil
}
