package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// Flags are settings as the flags of one command, and what was typed.
type Flags struct {
	typed []*flagValue
}

// NewFlags declares the flags of the settings in fs.
func NewFlags(fs *pflag.FlagSet, settings []*Setting) *Flags {
	f := new(Flags)
	for _, s := range settings {
		var spellings []*pflag.Flag
		for _, spelling := range s.Flags {
			v := &flagValue{setting: s, spelling: spelling}
			f.typed = append(f.typed, v)
			v.declare(fs)
			spellings = append(spellings, fs.Lookup(spelling.Name))
		}
		for _, v := range f.typed[len(f.typed)-len(spellings):] {
			v.spellings = spellings
		}
	}
	return f
}

// FlagsOf returns the flags that NewFlags declared in fs, as typed.
func FlagsOf(fs *pflag.FlagSet) *Flags {
	f := new(Flags)
	fs.VisitAll(func(flag *pflag.Flag) {
		if v := valueOf(flag); v != nil {
			f.typed = append(f.typed, v)
		}
	})
	return f
}

// Key is the key of the setting that a flag sets, empty if it has none.
func Key(flag *pflag.Flag) string {
	if v := valueOf(flag); v != nil {
		return v.setting.Key
	}
	return ""
}

// Words lists what a flag, or each element of its list, accepts, nil if that is
// more than a few words.
func Words(flag *pflag.Flag) []value.Word {
	if v := valueOf(flag); v != nil {
		return v.setting.shape().Leaf().Words
	}
	return nil
}

// IsPath reports whether a flag takes the path of a file or folder.
func IsPath(flag *pflag.Flag) bool {
	v := valueOf(flag)
	return v != nil && v.setting.shape().Leaf().Path
}

func valueOf(flag *pflag.Flag) *flagValue {
	switch v := flag.Value.(type) {
	case *flagValue:
		return v
	case listFlag:
		return v.flagValue
	}
	return nil
}

// groupAnnotation is the annotation of a flag that holds its Group.
const groupAnnotation = "containerd-pull-group"

// flagValue is one spelling of a setting. It keeps the texts as typed, because
// one flag may end up in the configurations of several references.
type flagValue struct {
	setting   *Setting
	spelling  Flag
	texts     value.Texts
	spellings []*pflag.Flag // all of the setting
}

// listFlag is a flag that may be repeated. cobra recognizes it by GetSlice: see
// cobra.SliceValue.
type listFlag struct{ *flagValue }

func (v listFlag) GetSlice() []string { return v.texts }

func (v *flagValue) declare(fs *pflag.FlagSet) {
	var val pflag.Value = v
	if t := v.setting.shape().Type; t == "array" || t == "object" {
		val = listFlag{v}
	}
	fs.AddFlag(&pflag.Flag{
		Name:        v.spelling.Name,
		Shorthand:   v.spelling.Short,
		Usage:       v.usage(),
		Value:       val,
		DefValue:    v.preset(),
		NoOptDefVal: v.noOptDefault(),
		Hidden:      v.spelling.Hidden,
		Annotations: map[string][]string{groupAnnotation: {string(v.setting.Group)}},
	})
}

func (v *flagValue) usage() string {
	first := v.setting.Flags[0].Name
	switch {
	case v.spelling.Name != first:
		return "the same as --" + first
	case v.setting.DefaultNote != "":
		return v.setting.Usage + " (default: " + v.setting.DefaultNote + ")"
	}
	return v.setting.Usage
}

// preset is the default that help shows, unless the usage tells it.
func (v *flagValue) preset() string {
	if v.setting.DefaultNote != "" || v.spelling.Name != v.setting.Flags[0].Name {
		return ""
	}
	return v.setting.Default
}

func (v *flagValue) noOptDefault() string {
	if v.setting.shape().Type == "boolean" {
		return "true"
	}
	return ""
}

// Set checks the text at once, so that the error names the flag as typed.
func (v *flagValue) Set(text string) error {
	if err := v.setting.bind(new(Config)).Set(value.Texts{text}); err != nil {
		return err
	}
	v.texts = append(v.texts, text)
	for _, f := range v.spellings { // pflag marks this one; the others count as given, too
		if f.Name != v.spelling.Name {
			f.Changed = true
		}
	}
	return nil
}

func (v *flagValue) String() string { return strings.Join(v.texts, ",") }

// Type is what help calls the value, also where an alias has no usage of its own.
func (v *flagValue) Type() string {
	shape := v.setting.shape()
	if shape.Type == "boolean" {
		return "bool"
	}
	if _, quoted, ok := strings.Cut(v.setting.Usage, "`"); ok {
		word, _, _ := strings.Cut(quoted, "`")
		return word
	}
	return shape.Name
}

// lookup makes Flags a layer.
func (f *Flags) lookup(s *Setting) (settingValue, bool, error) {
	var typed []*flagValue
	for _, v := range f.typed {
		if v.setting.Name() == s.Name() && v.texts != nil {
			typed = append(typed, v)
		}
	}
	if typed == nil {
		return settingValue{}, false, nil
	}
	if err := agree(s, typed); err != nil {
		return settingValue{}, false, err
	}
	return settingValue{raw: typed[0].texts, from: Origin{Kind: FromFlag, Name: typed[0].dashed()}}, true, nil
}

// agree refuses several spellings of one setting with different values: the
// last one winning would make the others ignored flags. A flag that has only
// one spelling may be repeated, so that an alias can be overridden.
func agree(s *Setting, typed []*flagValue) error {
	first := typed[0]
	for _, v := range typed {
		for _, text := range v.texts {
			if text != first.texts[0] && (v != first || len(s.visible()) > 1) {
				return fmt.Errorf("%s: got %q and %q, want one of them", s.spellings(), s.show(first.texts[0]), s.show(text))
			}
		}
	}
	return nil
}

func (v *flagValue) dashed() string { return "--" + v.spelling.Name }

// with returns the flags as if one more had been typed.
func (f *Flags) with(s *Setting, text string) *Flags {
	typed := &flagValue{setting: s, spelling: s.Flags[0], texts: value.Texts{text}}
	more := &Flags{typed: []*flagValue{typed}}
	for _, v := range f.typed {
		if v.setting.Name() != s.Name() {
			more.typed = append(more.typed, v)
		}
	}
	return more
}
