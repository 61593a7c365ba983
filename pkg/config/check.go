package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// checker looks through a document for what would otherwise be found out by a
// pull, or never.
type checker struct {
	doc      *document
	caller   Caller
	findings []*Error
	secrets  [][]string // where literal secrets stand
}

// check finds everything that is wrong with a document and makes its relative
// paths absolute.
func (d *document) check(caller Caller) []*Error {
	c := &checker{doc: d, caller: caller}
	c.walk(nil, d.tree, fileShape())
	c.settings(nil)
	for _, name := range d.profiles() {
		c.profile(name)
	}
	c.permissions()
	return c.findings
}

// profiles are the names of the profiles that the document speaks of.
func (d *document) profiles() []string {
	t, _ := d.tree[keyProfiles].(map[string]any)
	return slices.Sorted(maps.Keys(t))
}

func (c *checker) find(keys []string, err error, remedy string) {
	c.findings = append(c.findings, &Error{File: c.doc.path, Line: c.doc.lines.of(keys), Key: dotted(keys), Err: err, Remedy: remedy})
}

// dotted writes a path as it would be written in TOML.
func dotted(keys []string) string {
	return strings.ReplaceAll(strings.Join(keys, "."), ".[", "[")
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
			items[i] = c.absolute(item, *s.Items)
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

// entry checks one key of a table and gives its value as it is to be used.
func (c *checker) entry(keys []string, node any, parent value.Shape) any {
	s, known := parent.Field(keys[len(keys)-1])
	switch {
	case parent.Items != nil:
		s = *parent.Items
	case !known:
		c.unknown(keys, parent)
		return node
	}
	if s.HoldsSecret(node) {
		c.secrets = append(c.secrets, keys)
	}
	c.walk(keys, node, s)
	return c.absolute(node, s)
}

func (c *checker) unknown(keys []string, parent value.Shape) {
	e := &Error{File: c.doc.path, Line: c.doc.lines.of(keys), Err: fmt.Errorf("unknown key %q", dotted(keys))}
	if near := value.Nearest(keys[len(keys)-1], parent.FieldNames()); near != "" {
		e.Remedy = fmt.Sprintf("did you mean %q?", near)
	}
	c.findings = append(c.findings, e)
}

// absolute makes a path relative to the file that holds it.
func (c *checker) absolute(node any, s value.Shape) any {
	name, ok := node.(string)
	if !ok || !s.Path || name == "" || filepath.IsAbs(name) {
		return node
	}
	return filepath.Join(filepath.Dir(c.doc.path), name)
}

// settings checks the values below prefix by setting them.
func (c *checker) settings(prefix []string) {
	for _, s := range Table() {
		if s.Key == "" {
			continue
		}
		keys := append(slices.Clone(prefix), strings.Split(s.Key, ".")...)
		raw, ok := c.doc.at(keys)
		if !ok {
			continue
		}
		if err := s.bind(new(Config)).Set(raw); err != nil && !c.found(keys) {
			c.find(keys, err, "")
		}
	}
}

// found says whether something at or below keys was found before.
func (c *checker) found(keys []string) bool {
	at := dotted(keys)
	return slices.ContainsFunc(c.findings, func(e *Error) bool {
		return strings.HasPrefix(e.Key, at) || strings.Contains(e.Err.Error(), `"`+at)
	})
}

func (c *checker) profile(name string) {
	keys := []string{keyProfiles, name}
	if !regexp.MustCompile(profileName).MatchString(name) {
		c.find(keys, fmt.Errorf("got the name %q, want lower-case letters, digits, _ and -", name), "")
	}
	c.settings(keys)
	if raw, ok := c.doc.at(append(keys, keyExtends)); ok {
		if _, err := value.ParseText(raw); err != nil {
			c.find(append(keys, keyExtends), err, "")
		}
	}
	if raw, ok := c.doc.at(append(keys, keyMatch)); ok {
		patterns, err := value.ParseList(raw)
		for _, p := range patterns {
			err = errors.Join(err, source.CheckPattern(p))
		}
		if err != nil {
			c.find(append(keys, keyMatch), err, "")
		}
	}
	_, root := c.doc.at(append(keys, "root"))
	_, address := c.doc.at(append(keys, "address"))
	if root && address {
		c.find(keys, errors.New("root and address exclude each other"), "keep one of them")
	}
}

// permissions refuses a literal secret in a file that others can read.
func (c *checker) permissions() {
	if len(c.secrets) == 0 {
		return
	}
	at := c.secrets[0]
	if c.doc.open != 0 {
		c.find(at, errors.New("a secret in a file that others can read"), "chmod 600 "+c.doc.path)
	}
	if c.doc.owner != 0 && c.doc.owner != c.caller.UID {
		c.find(at, fmt.Errorf("a secret in a file of uid %d", c.doc.owner), fmt.Sprintf("chown %d %s", c.caller.UID, c.doc.path))
	}
}
