package file

import (
	"errors"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

func (d *Document) parseTOML(data []byte) error {
	if err := toml.Unmarshal(data, &d.Tree); err != nil {
		e := &Error{File: d.Path, Err: errors.New(strings.TrimPrefix(err.Error(), "toml: "))}
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			e.Line, _ = at.Position()
		}
		return e
	}
	l := tomlLines{doc: d, arrays: map[string]int{}}
	l.parser.Reset(data)
	for l.parser.NextExpression() {
		l.expression(l.parser.Expression())
	}
	return nil
}

// tomlLines walks the expressions of a TOML file for the lines of its keys.
type tomlLines struct {
	doc    *Document
	parser unstable.Parser
	table  []string       // that the next keys belong to
	arrays map[string]int // index of the current element of each array of tables
}

func (l *tomlLines) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table:
		l.table = l.header(n, false)
	case unstable.ArrayTable:
		l.table = l.header(n, true)
	case unstable.KeyValue:
		l.keyValue(l.table, n)
	}
}

// header resolves the name of a table: each array of tables on the way stands
// for its latest element.
func (l *tomlLines) header(n *unstable.Node, array bool) []string {
	var keys []string
	parts, line := l.key(n)
	for i, part := range parts {
		keys = append(keys, part)
		index, known := l.arrays[pathOf(keys)]
		if last := i == len(parts)-1; last && array {
			if known {
				index++
			}
			l.arrays[pathOf(keys)] = index
			known = true
		}
		l.doc.lines.note(keys, line)
		if known {
			keys = append(keys, value.Element(index))
			l.doc.lines.note(keys, line)
		}
	}
	return keys
}

func (l *tomlLines) keyValue(table []string, n *unstable.Node) {
	parts, line := l.key(n)
	keys := slices.Clone(table)
	for _, part := range parts {
		keys = append(keys, part)
		l.doc.lines.note(keys, line)
	}
	l.value(keys, n.Value())
}

func (l *tomlLines) value(keys []string, n *unstable.Node) {
	children := n.Children()
	for i := 0; children.Next(); i++ {
		switch child := children.Node(); n.Kind {
		case unstable.InlineTable:
			l.keyValue(keys, child)
		case unstable.Array:
			inner := append(slices.Clone(keys), value.Element(i))
			if child.Kind == unstable.String {
				l.doc.lines.note(inner, l.parser.Shape(child.Raw).Start.Line)
			}
			l.value(inner, child)
		}
	}
}

// key returns the parts of a dotted key and the line of the first.
func (l *tomlLines) key(n *unstable.Node) (parts []string, line int) {
	for it := n.Key(); it.Next(); {
		if line == 0 {
			line = l.parser.Shape(it.Node().Raw).Start.Line
		}
		parts = append(parts, string(it.Node().Data))
	}
	return parts, line
}

func (d *Document) parseYAML(data []byte) error {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return &Error{File: d.Path, Err: errors.New(strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(root.Content) == 0 {
		return nil
	}
	if err := root.Content[0].Decode(&d.Tree); err != nil {
		return &Error{File: d.Path, Err: errors.New("want a table of settings")}
	}
	if d.Tree == nil { // the file holds nothing but null
		d.Tree = map[string]any{}
	}
	d.yamlLines(nil, root.Content[0])
	return nil
}

func (d *Document) yamlLines(keys []string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			inner := append(slices.Clone(keys), n.Content[i].Value)
			d.lines.note(inner, n.Content[i].Line)
			d.yamlLines(inner, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			inner := append(slices.Clone(keys), value.Element(i))
			d.lines.note(inner, item.Line)
			d.yamlLines(inner, item)
		}
	}
}
