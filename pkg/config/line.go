package config

import (
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// Line is what a line of a list says about its image alone. It is stronger than the
// flags, which are for all images of the call.
type Line struct {
	File string
	Line int
	// Values are texts in the syntax of flags, by the names of the flags.
	Values map[string][]string
}

// ForLine returns the settings for the image of a line.
func (s *Settings) ForLine(l Line) *Settings {
	own := *s
	own.line = l
	return &own
}

// lookup makes Line a layer.
func (l Line) lookup(s *Setting) (settingValue, bool, error) {
	for _, f := range s.Flags {
		if texts := l.Values[f.Name]; texts != nil {
			return settingValue{raw: value.Texts(texts), from: Origin{Kind: FromLine, Name: f.Name + "=", File: l.File, Line: l.Line}}, true, nil
		}
	}
	return settingValue{}, false, nil
}

// Lists returns which files name images on the command line.
func (f *Flags) Lists() (Lists, error) {
	cfg := new(Config)
	for _, s := range append(listSettings(), only(credentialSettings(), "--password-stdin")...) {
		found, ok, err := f.lookup(s)
		if err == nil && ok {
			err = s.bind(cfg).Set(found.raw)
		}
		if err != nil {
			return Lists{}, err
		}
	}
	cfg.Lists.Password = cfg.Login.PasswordStdin
	return cfg.Lists, nil
}
