package list

import (
	"context"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v3"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Few bytes of a file can stand for very many: by variables in the values of
// variables, by files that include each other, by aliases. These bounds hold for one
// Read.
const (
	// maxExpanded bounds in bytes a text with variables, and what it becomes. No
	// reference is longer than a part of it.
	maxExpanded = 4 << 10
	// maxBraces bounds the variables in braces of one text: each may lie in another.
	maxBraces = 100
	// maxFiles bounds the files that are included or extended.
	maxFiles = 100
	// maxFound bounds images and notes together.
	maxFound = 100_000
)

// reading is the state of one Read.
type reading struct {
	Reader
	found    *Found
	files    map[string]*yaml.Node // first documents of other files, by path
	included map[string]bool       // by path: false as long as the file is being read
	dotEnv   map[string]string     // of the file .env, nil before the first Compose file
	size     int                   // bytes of all files
	made     int                   // bytes of notes and of texts with variables
}

// ended returns why ctx has ended, nil if it goes on.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// makes counts bytes that do not stand in the files themselves.
func (r *reading) makes(at Place, bytes int) error {
	if r.made += bytes; r.made > MaxFrom {
		return at.wrongf("variables and aliases up to here stand for more than %d bytes", MaxFrom)
	}
	return nil
}

func (r *reading) counts(at Place) error {
	if len(r.found.Entries)+len(r.found.Notes) >= maxFound {
		return at.wrongf("more than %d images are named up to here", maxFound)
	}
	return nil
}

// add adds an image.
func (r *reading) add(at Place, ref string, words ...Word) error {
	r.found.Entries = append(r.found.Entries, Entry{Place: at, Ref: ref, Words: words})
	return r.counts(at)
}

// note says what is left out, and why.
func (r *reading) note(at Place, text string) error {
	text = at.String() + ": " + text
	r.found.Notes = append(r.found.Notes, text)
	if err := r.makes(at, len(text)); err != nil {
		return err
	}
	return r.counts(at)
}

// file returns the first document of another file, nil if it has none. Each file is
// read once.
func (r *reading) file(at Place, path string) (*yaml.Node, error) {
	if doc, ok := r.files[path]; ok {
		return doc, nil
	}
	if len(r.files) == maxFiles {
		return nil, at.wrongf("more than %d other files are included or extended", maxFiles)
	}
	data, err := readFile(path, MaxFrom)
	if err != nil {
		return nil, err
	}
	if r.size += len(data); r.size > MaxFrom {
		return nil, at.wrongf("with %s, the files have more than %d bytes", path, MaxFrom)
	}
	docs, err := documents(path, data)
	if err != nil {
		return nil, err
	}
	var doc *yaml.Node
	if len(docs) > 0 {
		doc = docs[0]
	}
	r.files[path] = doc
	return doc, nil
}

// lookup finds the value of a variable, and whether it has one.
type lookup func(name string) (string, bool)

// allowance gives out the values of variables up to so many bytes. Then left is
// negative, and they are empty.
type allowance struct {
	of   lookup
	left int
}

func (a *allowance) lookup(name string) (string, bool) {
	value, ok := a.of(name)
	if a.left -= len(value); a.left < 0 {
		return "", ok
	}
	return value, ok
}

// expand fills in the variables of a reference. One without a value is an error if
// there is no reference without it.
func (r *reading) expand(at Place, s string, of lookup) (string, error) {
	var unset []string
	full, err := r.expandArg(at, s, func(name string) (string, bool) {
		value, ok := of(name)
		if !ok {
			unset = append(unset, name)
		}
		return value, ok
	})
	if err != nil || len(unset) == 0 {
		return full, err
	}
	if _, wrong := source.ParseRef(full); wrong != nil {
		return "", at.wrongf("%s: %s has no value", quoted(s), strings.Join(unset, ", "))
	}
	return full, nil
}

// expandArg fills in the variables of a text. One without a value is empty.
func (r *reading) expandArg(at Place, s string, of lookup) (string, error) {
	if !strings.Contains(s, "$") {
		return strings.TrimSpace(s), nil
	}
	if err := expandable(at, s); err != nil {
		return "", err
	}
	values := &allowance{of, maxExpanded - len(s)}
	full, err := template.SubstituteWithOptions(s, values.lookup, template.WithoutLogging)
	if values.left < 0 {
		return "", at.wrongf("%s becomes longer than %d bytes", quoted(s), maxExpanded)
	}
	if err != nil {
		return "", at.wrongf("%s: %w", quoted(s), err)
	}
	return strings.TrimSpace(full), r.makes(at, len(full))
}

// expandable refuses a text with variables that would take too long.
func expandable(at Place, s string) error {
	if len(s) > maxExpanded || strings.Count(s, "${") > maxBraces {
		return at.wrongf("%s is too long: a text with variables has up to %d bytes and %d of them in braces", quoted(s), maxExpanded, maxBraces)
	}
	return nil
}
