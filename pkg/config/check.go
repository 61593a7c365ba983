package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// checker reports mistakes in a document that otherwise surface only during a
// pull, or never.
type checker struct {
	doc      *file.Document
	home     string // of the caller, empty if there is none
	findings []*file.Error
	wrong    []string // the keys of the findings, with dots between tables
	secret   []string // where the first literal secret stands, nil if there is none
}

// check finds everything that is wrong with a document and makes its relative
// paths absolute.
func check(d *file.Document, caller Caller) []*file.Error {
	c := &checker{doc: d, home: caller.home()}
	c.walk(nil, d.Tree, fileShape())
	c.settings(nil)
	for _, name := range d.Profiles() {
		c.profile(name)
	}
	if c.secret != nil {
		c.findings = append(c.findings, d.CheckSecret(c.secret, caller.UID)...)
	}
	return c.findings
}

func (c *checker) find(keys []string, err error, remedy string) {
	c.add(keys, c.doc.ErrorAt(keys, err, remedy))
}

func (c *checker) add(keys []string, e *file.Error) {
	c.findings, c.wrong = append(c.findings, e), append(c.wrong, file.Dotted(keys))
}

// walk compares the structure with the shape. What is wrong with single values
// is found by settings.
func (c *checker) walk(keys []string, node any, s value.Shape) {
	switch {
	case s.Type == "array" && s.Items.Type == "object":
		c.elements(keys, node, *s.Items)
	case s.Type == "array":
		items, _ := node.([]any)
		for i, item := range items {
			items[i] = c.absolute(keys, item, *s.Items)
		}
	case s.Type == "object":
		t, ok := node.(map[string]any)
		if !ok {
			c.find(keys, value.WrongType(node, "a table"), "")
			return
		}
		for _, name := range slices.Sorted(maps.Keys(t)) {
			t[name] = c.entry(append(slices.Clone(keys), name), t[name], s)
		}
	}
}

func (c *checker) elements(keys []string, node any, item value.Shape) {
	if _, ok := node.(map[string]any); ok {
		c.walk(keys, node, item)
		return
	}
	items, _ := node.([]any)
	for i, n := range items {
		c.walk(append(slices.Clone(keys), value.Element(i)), n, item)
	}
}

// entry checks one key of a table and returns its value as it is to be used.
func (c *checker) entry(keys []string, node any, parent value.Shape) any {
	s, known := parent.Field(keys[len(keys)-1])
	switch {
	case parent.Items != nil:
		s = *parent.Items
	case !known:
		c.unknown(keys, parent)
		return node
	}
	if c.secret == nil && s.HoldsSecret(node) {
		c.secret = keys
	}
	c.walk(keys, node, s)
	return c.absolute(keys, node, s)
}

func (c *checker) unknown(keys []string, parent value.Shape) {
	e := c.doc.ErrorAt(keys, fmt.Errorf("unknown key %q", file.Dotted(keys)), "")
	e.Key = "" // the text names it
	if near := value.Nearest(keys[len(keys)-1], parent.FieldNames()); near != "" {
		e.Remedy = fmt.Sprintf("did you mean %q?", near)
	}
	if len(keys) > 2 && keys[0] == file.ProfilesKey && !isNearGuard(keys[len(keys)-1]) {
		e.Profile = keys[1]
	}
	c.add(keys, e)
}

// isNearGuard reports whether a key may be meant to be one that decides what is pulled,
// and who sees the credentials.
func isNearGuard(key string) bool {
	return slices.ContainsFunc([]string{keyMatch, keyExtends, keyVerify, "credentials", "tls"}, func(guard string) bool {
		return value.Distance(key, guard) <= 1
	})
}

// absolute makes a path relative to the file that holds it, or behind ~/ to the home
// of the caller.
func (c *checker) absolute(keys []string, node any, s value.Shape) any {
	name, ok := node.(string)
	if !ok || !s.Path || name == "" || filepath.IsAbs(name) {
		return node
	}
	if below, ok := strings.CutPrefix(name, "~/"); ok {
		if c.home == "" {
			c.find(keys, errors.New("~/ is the home of the caller, who has none"), "write the whole path")
		}
		return filepath.Join(c.home, below)
	}
	return filepath.Join(filepath.Dir(c.doc.Path), name)
}

// settings checks the values below prefix by setting them.
func (c *checker) settings(prefix []string) {
	for _, s := range Table() {
		if s.Key == "" {
			continue
		}
		keys := append(slices.Clone(prefix), strings.Split(s.Key, ".")...)
		raw, ok := c.doc.At(keys)
		if !ok {
			continue
		}
		if err := s.bind(new(Config)).Set(raw); err != nil && !c.isKnown(keys) {
			c.find(keys, err, "")
		}
	}
}

// isKnown reports whether a mistake at or below keys was found before.
func (c *checker) isKnown(keys []string) bool {
	at := file.Dotted(keys)
	return slices.ContainsFunc(c.wrong, func(key string) bool { return strings.HasPrefix(key, at) })
}

func (c *checker) profile(name string) {
	keys := []string{file.ProfilesKey, name}
	if !regexp.MustCompile(profileName).MatchString(name) {
		c.find(keys, fmt.Errorf("got the name %q, want lower-case letters, digits, _ and -", name), "")
	}
	c.settings(keys)
	if raw, ok := c.doc.At(append(keys, keyExtends)); ok {
		if _, err := value.ParseText(raw); err != nil {
			c.find(append(keys, keyExtends), err, "")
		}
	}
	if raw, ok := c.doc.At(append(keys, keyMatch)); ok {
		patterns, err := value.ParseList(raw)
		for _, p := range patterns {
			_, wrong := source.ParsePattern(p)
			err = errors.Join(err, wrong)
		}
		if err != nil {
			c.find(append(keys, keyMatch), err, "")
		}
	}
	_, root := c.doc.At(append(keys, "root"))
	_, address := c.doc.At(append(keys, "address"))
	if root && address {
		c.find(keys, errors.New("root and address exclude each other"), "keep one of them")
	}
}
