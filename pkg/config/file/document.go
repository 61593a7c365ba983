// Package file reads configuration files. A Document is one file,
// parsed, that knows in which line each key stands and who may read it; a Layer
// is what several of them hold, the stronger ones over the weaker.
//
// The package knows the syntax of files and not the settings in them: which keys
// there are and which files a caller has is the business of pkg/config. Read
// layer.go next: it is where files merge.
package file

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// ProfilesKey is the table that holds the profiles of a file, by name.
const ProfilesKey = "profiles"

// Document is one configuration file, parsed.
type Document struct {
	Path string
	Tree map[string]any // tables within tables, with the keys as written

	lines lines
	open  os.FileMode // the bits by which others may read or write it
	owner int         // uid
}

// MaxSize bounds what is read as configuration, so that the name of a device or
// an archive gives an error and does not fill the memory.
const MaxSize = 4 << 20

// Reader reads a file of at most so many bytes: userfile.Found or userfile.Named.
type Reader func(path string, most int64) (userfile.File, error)

// Read reads and parses a file: TOML, or YAML if the name says so. Its error wraps
// fs.ErrNotExist if there is none, and is a *userfile.Foreign if the file does not
// count.
func (r Reader) Read(path string) (*Document, error) { return r.parse(path, parserOf(path)) }

// ReadTOML is Read for a file that is TOML under any name.
func (r Reader) ReadTOML(path string) (*Document, error) {
	return r.parse(path, (*Document).parseTOML)
}

// Parse parses TOML, or YAML if the name says so.
func Parse(path string, data []byte) (*Document, error) { return parse(path, data, parserOf(path)) }

// parser fills the tree and the lines of a document.
type parser func(d *Document, data []byte) error

func parserOf(path string) parser {
	switch filepath.Ext(path) {
	case ".yaml", ".yml":
		return (*Document).parseYAML
	default:
		return (*Document).parseTOML
	}
}

func (r Reader) parse(path string, by parser) (*Document, error) {
	content, err := r(path, MaxSize)
	if err != nil {
		return nil, unreadable(path, err)
	}
	d, err := parse(path, content.Data, by)
	if err != nil {
		return nil, err
	}
	d.open, d.owner = content.Mode&0o077, content.UID
	return d, nil
}

func unreadable(path string, err error) error {
	if _, ok := errors.AsType[*userfile.Foreign](err); ok {
		return err // it names the file
	}
	e := &Error{File: path, Err: Reason(err)}
	if errors.Is(err, userfile.ErrNoFile) {
		e.Remedy = "name a TOML or YAML file"
	}
	return e
}

func parse(path string, data []byte, by parser) (*Document, error) {
	d := &Document{Path: path, Tree: map[string]any{}, lines: lines{}}
	if err := by(d, data); err != nil {
		return nil, err
	}
	return d, nil
}

// dropInDir is the folder beside a file whose files are read after it.
const dropInDir = "config.d"

// DropIns lists the files in config.d beside a file, the weakest first.
func DropIns(path string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), dropInDir, "*.toml"))
	if err != nil {
		return nil, fmt.Errorf("listing %s beside %s: %w", dropInDir, path, err)
	}
	slices.Sort(names)
	return names, nil
}

// At returns what stands at a path of tables.
func (d *Document) At(keys []string) (any, bool) {
	var node any = d.Tree
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

// Decode decodes a key at the top of the document into a struct whose field has
// that key as its toml tag, by the rules of go-toml.
func (d *Document) Decode(key string, into any) error {
	text, err := toml.Marshal(map[string]any{key: d.Tree[key]})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", key, err)
	}
	return toml.Unmarshal(text, into)
}

// Line is the line of a key, or of the nearest thing around it; 0 if there is
// none. Elements of lists count as keys: see value.Element.
func (d *Document) Line(keys []string) int { return d.lines.of(keys) }

// Profiles are the names of the profiles that the document defines.
func (d *Document) Profiles() []string {
	t, _ := d.Tree[ProfilesKey].(map[string]any)
	return slices.Sorted(maps.Keys(t))
}

// ErrorAt is err about a key of the document.
func (d *Document) ErrorAt(keys []string, err error, remedy string) *Error {
	return &Error{File: d.Path, Line: d.Line(keys), Key: Dotted(keys), Err: err, Remedy: remedy}
}

// CheckSecret refuses a literal secret, which stands at keys, in a file that
// others than the user can read or write.
func (d *Document) CheckSecret(keys []string, uid int) []*Error {
	var wrong []*Error
	if d.open != 0 {
		wrong = append(wrong, d.ErrorAt(keys, errors.New("a secret in a file that others can read"), "chmod 600 "+d.Path))
	}
	if d.owner != 0 && d.owner != uid {
		wrong = append(wrong, d.ErrorAt(keys, fmt.Errorf("a secret in a file of uid %d", d.owner), fmt.Sprintf("chown %d %s", uid, d.Path)))
	}
	return wrong
}

// Dotted writes the path of a key as it would be written in TOML.
func Dotted(keys []string) string {
	return strings.ReplaceAll(strings.Join(keys, "."), ".[", "[")
}

// lines holds the line of each key. Elements of lists count as keys.
type lines map[string]int

func pathOf(keys []string) string { return strings.Join(keys, "\x00") }

func (l lines) note(keys []string, line int) {
	if p := pathOf(keys); l[p] == 0 {
		l[p] = line
	}
}

func (l lines) of(keys []string) int {
	for ; len(keys) > 0; keys = keys[:len(keys)-1] {
		if line := l[pathOf(keys)]; line != 0 {
			return line
		}
	}
	return 0
}
