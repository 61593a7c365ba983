package config

import (
	"maps"
	"strings"

	"github.com/spf13/viper"
)

// delimiter separates tables in viper's keys. Its own choice, the dot, stands
// in label keys and host names.
const delimiter = "::"

// place is where settings stand in a document: at the top, or in a profile.
type place struct {
	doc     *document
	prefix  []string
	profile string // empty at the top
	kind    Kind
}

func (p place) tree() map[string]any {
	node, _ := p.doc.at(p.prefix)
	t, _ := node.(map[string]any)
	return t
}

func (p place) keys(s *Setting) []string {
	return append(append([]string{}, p.prefix...), strings.Split(s.Key, ".")...)
}

func (p place) origin(s *Setting) Origin {
	return Origin{Kind: p.kind, Name: p.profile, File: p.doc.path, Line: p.doc.lines.of(p.keys(s))}
}

// fileLayer is a layer of files: tables merged key by key, lists replaced.
type fileLayer struct {
	places []place // the weakest first
	merged *viper.Viper
	knows  func(*Setting) bool // nil for all settings
}

func newFileLayer(places []place) (*fileLayer, error) {
	l := &fileLayer{places: places, merged: viper.NewWithOptions(viper.KeyDelimiter(delimiter))}
	for _, p := range places {
		// viper keeps what it is given and lowers the case of its keys.
		if err := l.merged.MergeConfigMap(cloneTree(p.tree())); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// cloneTree copies tables and lists, however deep.
func cloneTree(t map[string]any) map[string]any {
	c := make(map[string]any, len(t))
	for key, node := range t {
		c[key] = cloneNode(node)
	}
	return c
}

func cloneNode(node any) any {
	switch n := node.(type) {
	case map[string]any:
		return cloneTree(n)
	case []any:
		c := make([]any, len(n))
		for i := range n {
			c[i] = cloneNode(n[i])
		}
		return c
	}
	return node
}

func (l *fileLayer) lookup(s *Setting) (said, bool, error) {
	if s.Key == "" || (l.knows != nil && !l.knows(s)) {
		return said{}, false, nil
	}
	last := -1
	for i, p := range l.places {
		if _, ok := p.doc.at(p.keys(s)); ok {
			last = i
		}
	}
	if last < 0 {
		return said{}, false, nil
	}
	return said{raw: l.raw(s), from: l.places[last].origin(s), depth: last}, true, nil
}

func (l *fileLayer) raw(s *Setting) any {
	if s.shape().Type == "object" {
		return l.freeKeys(s)
	}
	return l.merged.Get(strings.ReplaceAll(s.Key, ".", delimiter))
}

// freeKeys merges a table whose keys are the user's from the documents
// themselves, because their case counts.
func (l *fileLayer) freeKeys(s *Setting) map[string]any {
	merged := map[string]any{}
	for _, p := range l.places {
		node, _ := p.doc.at(p.keys(s))
		t, _ := node.(map[string]any)
		maps.Copy(merged, t)
	}
	return merged
}
