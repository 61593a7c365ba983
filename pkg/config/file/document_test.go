package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

func parse(t *testing.T, name, text string) *file.Document {
	t.Helper()
	d, err := file.Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const tomlText = `a = 1
b.c = 2

[t]
inline = { d = 3,
  list = [
    "x",
    "y"] }
[[l]]
e = 4
[[l]]
e = 5
[l.f]
g = 6
`

const yamlText = `a: 1
b:
  c: 2
l:
  - e: 4
  - e: 5
    f: {g: 6}
`

func TestLine(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		keys       []string
		want       int
	}{
		{"x.toml", tomlText, []string{"a"}, 1},
		{"x.toml", tomlText, []string{"b", "c"}, 2},
		{"x.toml", tomlText, []string{"b"}, 2},
		{"x.toml", tomlText, []string{"t", "inline", "list"}, 6},
		{"x.toml", tomlText, []string{"t", "inline", "none"}, 5},
		{"x.toml", tomlText, []string{"t", "inline", "list", "[0]"}, 7},
		{"x.toml", tomlText, []string{"t", "inline", "list", "[1]"}, 8},
		{"x.toml", tomlText, []string{"l", "[0]", "e"}, 10},
		{"x.toml", tomlText, []string{"l", "[1]", "e"}, 12},
		{"x.toml", tomlText, []string{"l", "[1]", "f", "g"}, 14},
		{"x.toml", tomlText, []string{"none"}, 0},
		{"x.yaml", yamlText, []string{"b", "c"}, 3},
		{"x.yaml", yamlText, []string{"l", "[1]", "f", "g"}, 7},
		{"x.yml", yamlText, []string{"l", "[1]", "h"}, 6},
		{"x.yml", yamlText, nil, 0},
	} {
		if got := parse(t, tc.name, tc.text).Line(tc.keys); got != tc.want {
			t.Errorf("line of %q in %s: got %d, want %d", tc.keys, tc.name, got, tc.want)
		}
	}
}

func TestParseErrorsNameTheLine(t *testing.T) {
	for name, text := range map[string]string{"x.toml": "a = 1\nb =\n", "x.yaml": "- a\n- b\n"} {
		_, err := file.Parse(name, []byte(text))
		wrong, ok := errors.AsType[*file.Error](err)
		if !ok || wrong.File != name || (name == "x.toml" && wrong.Line != 2) {
			t.Errorf("%s: got error %v, want one that says where", name, err)
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, 4<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Reader(userfile.Named).Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got error %v, want %v", err, fs.ErrNotExist)
	}
	for _, path := range []string{dir, large} {
		if _, err := file.Reader(userfile.Named).Read(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got error %v, want one that refuses it", path, err)
		}
	}
}

// TestReadTOML: a name does not make YAML of a file that is TOML by agreement.
func TestReadTOML(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte("a = 1\nlist = ['x']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Reader(userfile.Named).Read(path); err == nil {
		t.Error("got no error from TOML read as YAML")
	}
	d, err := file.Reader(userfile.Named).ReadTOML(path)
	if err != nil || d.Line([]string{"list"}) != 2 {
		t.Fatalf("got error %v and line %d, want none and 2", err, d.Line([]string{"list"}))
	}
	var into struct {
		A string   `toml:"a"`
		L []string `toml:"list, omitempty"`
	}
	if err := d.Decode("list", &into); err != nil || !cmp.Equal(into.L, []string{"x"}) {
		t.Errorf("got %q and error %v, want x", into.L, err)
	}
	if err := d.Decode("a", &into); err == nil {
		t.Error("got no error from a number decoded into a text")
	}
}

// TestLayer: the strongest place wins, with its origin; tables of the user's
// own keys are merged; and merging changes neither documents nor the case of
// keys.
func TestLayer(t *testing.T) {
	weak := parse(t, "weak.toml", "name = 'a'\nonly = 'weak'\n[tls]\nca = 'x'\n[labels]\nA = '1'\nb = '1'\n")
	strong := parse(t, "strong.toml", "name = 'b'\n[labels]\na = '2'\nb = '2'\n[[hosts]]\nheaders = { X-Key = 'k' }\n[profiles.p]\nname = 'c'\n")
	l, err := file.NewLayer([]string{"name", "only", "tls.ca", "labels", "hosts"}, []file.Place{{Document: weak}, {Document: strong}})
	if err != nil {
		t.Fatal(err)
	}
	type found struct {
		Raw         any
		File        string
		Line, Depth int
	}
	want := map[string]found{
		"name":   {"b", "strong.toml", 1, 1},
		"only":   {"weak", "weak.toml", 2, 0},
		"tls.ca": {"x", "weak.toml", 4, 0},
		"hosts":  {[]any{map[string]any{"headers": map[string]any{"X-Key": "k"}}}, "strong.toml", 5, 1},
	}
	got := map[string]found{}
	for _, key := range []string{"name", "only", "tls.ca", "hosts", "tls.cert", ""} {
		if f, ok := l.Lookup(key); ok {
			got[key] = found{f.Raw, f.Place.Document.Path, f.Place.Line(key), f.Depth}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"A": "1", "a": "2", "b": "2"}, l.Table("labels")); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(parse(t, "weak.toml", "A = '1'\nb = '1'\n").Tree, weak.Tree["labels"]); diff != "" {
		t.Errorf("document after merging (-want +got):\n%s", diff)
	}
	p, err := file.NewLayer([]string{"name"}, []file.Place{{Document: strong, Profile: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := p.Lookup("name"); !ok || f.Raw != "c" || f.Place.Line("name") != 8 {
		t.Errorf("name in the profile: got %v in line %d, want c in line 8", f.Raw, f.Place.Line("name"))
	}
}
