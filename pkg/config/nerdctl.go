package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	nerdctl "github.com/containerd/nerdctl/v2/pkg/config"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// nerdctlLayer is the layer of nerdctl.toml. Which keys there are, and of which
// type, is what nerdctl's own Config says; those concern a pull that are settings
// here as well. The others are left alone, whatever they hold.
type nerdctlLayer struct {
	doc      *file.Document
	values   map[string]settingValue // by key
	warnings []string
}

func (f *nerdctlLayer) lookup(s *Setting) (settingValue, bool, error) {
	found, ok := f.values[s.Key]
	return found, ok, nil
}

// readNerdctl reads nerdctl's file; it returns nil without a path.
func readNerdctl(path string, read file.Reader) (*nerdctlLayer, error) {
	if path == "" {
		return nil, nil
	}
	doc, err := read.ReadTOML(path)
	if err != nil {
		return nil, err
	}
	f := &nerdctlLayer{doc: doc, values: map[string]settingValue{}}
	return f, f.decode()
}

// decode goes through the keys of the file in their order, since a key may be
// spelled in upper and in lower case, and the later one counts.
func (f *nerdctlLayer) decode() error {
	keys := slices.Collect(maps.Keys(f.doc.Tree))
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Compare(f.doc.Line([]string{a}), f.doc.Line([]string{b}))
	})
	for _, key := range keys {
		if err := f.decodeKey(key); err != nil {
			return err
		}
	}
	return nil
}

// decodeKey takes over the value of a key that concerns a pull. A key that
// nerdctl does not know is worth a warning only, since the file is nerdctl's.
func (f *nerdctlLayer) decodeKey(key string) error {
	field, known := nerdctlField(key)
	if !known {
		f.warnings = append(f.warnings, fmt.Sprintf("%s:%d: unknown key %q", f.doc.Path, f.doc.Line([]string{key}), key))
		return nil
	}
	name := tomlName(field)
	if !slices.Contains(settingKeys(), name) {
		return nil
	}
	var theirs nerdctl.Config
	if err := f.doc.Decode(key, &theirs); err != nil {
		return f.doc.ErrorAt([]string{key}, value.WrongType(f.doc.Tree[key], describe(field.Type)), "")
	}
	f.values[name] = settingValue{
		raw:  plain(reflect.ValueOf(theirs).FieldByIndex(field.Index)),
		from: Origin{Kind: FromNerdctl, File: f.doc.Path, Line: f.doc.Line([]string{key})},
	}
	return nil
}

// nerdctlField finds the field of nerdctl's Config that a key sets. As go-toml,
// which nerdctl reads the file with, it takes upper case for lower case.
func nerdctlField(key string) (reflect.StructField, bool) {
	for field := range reflect.TypeFor[nerdctl.Config]().Fields() {
		if strings.EqualFold(tomlName(field), key) {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

// tomlName is the key of a field of nerdctl's Config.
func tomlName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
	return name
}

// describe names a type for people who write a file.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list of texts"
	default:
		return "a text"
	}
}

// plain is a value in the type that a file holds it in.
func plain(v reflect.Value) any {
	if v.Kind() != reflect.Slice {
		return v.Interface()
	}
	items := make([]any, v.Len())
	for i := range items {
		items[i] = v.Index(i).Interface()
	}
	return items
}
