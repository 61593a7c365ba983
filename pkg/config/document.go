package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"
)

// document is one configuration file, parsed. Keys are as written: viper, which
// merges documents, would lower their case.
type document struct {
	path  string
	tree  map[string]any
	lines lines
	open  os.FileMode // bits by which others may read or write it
	owner int         // uid
}

// lines tells in which line a key stands. Paths are joined by pathOf; elements
// of arrays count as keys "[0]", "[1]" and so on.
type lines map[string]int

func pathOf(keys []string) string { return strings.Join(keys, "\x00") }

func (l lines) note(keys []string, line int) {
	if p := pathOf(keys); l[p] == 0 {
		l[p] = line
	}
}

// of finds the line of a key, or of the nearest thing around it.
func (l lines) of(keys []string) int {
	for ; len(keys) > 0; keys = keys[:len(keys)-1] {
		if line := l[pathOf(keys)]; line != 0 {
			return line
		}
	}
	return 0
}

// maxFileSize bounds what is read as configuration: whoever names a device or
// an archive by mistake gets an error instead of a full memory.
const maxFileSize = 4 << 20

// readDocument reads and parses a file. Its error wraps fs.ErrNotExist if
// there is none.
func readDocument(path string) (*document, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &Error{File: path, Err: bare(err)}
	}
	if !info.Mode().IsRegular() && info.Mode()&os.ModeNamedPipe == 0 && info.Mode()&os.ModeCharDevice == 0 {
		return nil, &Error{File: path, Err: errors.New("is not a file"), Remedy: "name a TOML or YAML file"}
	}
	if info.Size() > maxFileSize {
		return nil, &Error{File: path, Err: fmt.Errorf("got %d bytes, want at most %d", info.Size(), maxFileSize)}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{File: path, Err: bare(err)}
	}
	d, err := parseDocument(path, data)
	if err != nil {
		return nil, err
	}
	d.open, d.owner = info.Mode().Perm()&0o077, ownerOf(info)
	return d, nil
}

// parseDocument parses TOML, or YAML if the name says so.
func parseDocument(path string, data []byte) (*document, error) {
	d := &document{path: path, tree: map[string]any{}, lines: lines{}}
	var err error
	switch filepath.Ext(path) {
	case ".yaml", ".yml":
		err = d.parseYAML(data)
	default:
		err = d.parseTOML(data)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *document) parseTOML(data []byte) error {
	if err := toml.Unmarshal(data, &d.tree); err != nil {
		e := &Error{File: d.path, Err: errors.New(strings.TrimPrefix(err.Error(), "toml: "))}
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
	doc    *document
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
			l.value(append(slices.Clone(keys), value.Element(i)), child)
		}
	}
}

// key gives the parts of a dotted key and the line of the first.
func (l *tomlLines) key(n *unstable.Node) (parts []string, line int) {
	for it := n.Key(); it.Next(); {
		if line == 0 {
			line = l.parser.Shape(it.Node().Raw).Start.Line
		}
		parts = append(parts, string(it.Node().Data))
	}
	return parts, line
}

func (d *document) parseYAML(data []byte) error {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return &Error{File: d.path, Err: errors.New(strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(root.Content) == 0 {
		return nil
	}
	if err := root.Content[0].Decode(&d.tree); err != nil {
		return &Error{File: d.path, Err: errors.New("want a table of settings")}
	}
	if d.tree == nil { // the file holds nothing but null
		d.tree = map[string]any{}
	}
	d.yamlLines(nil, root.Content[0])
	return nil
}

func (d *document) yamlLines(keys []string, n *yaml.Node) {
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

// at gives what stands at a path of tables.
func (d *document) at(keys []string) (any, bool) {
	var node any = d.tree
	for _, key := range keys {
		t, ok := node.(map[string]any)
		if !ok {
			return nil, false
		}
		if node, ok = t[key]; !ok {
			return nil, false
		}
	}
	return node, true
}
