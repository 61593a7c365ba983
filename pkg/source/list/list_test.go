package list_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source/list"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

func noStdin() ([]byte, error) { return nil, errors.New("stdin was read") }

// write stores files below a folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLines(t *testing.T) {
	const text = "# what a node needs\r\n" +
		"\n" +
		" \talpine\t# the base \r\n" +
		"registry.example.com:5000/team/app:1.2@sha256:0 platform=linux/arm64 platform=linux/amd64 label=a=#1 label=b profile=prod policy=missing\n" +
		"#commented/out\n" +
		"last"
	got, err := list.Lines("images", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []list.Entry{
		{Place: list.Place{File: "images", Line: 3}, Ref: "alpine"},
		{Place: list.Place{File: "images", Line: 4}, Ref: "registry.example.com:5000/team/app:1.2@sha256:0", Words: []list.Word{
			{Key: "platform", Value: "linux/arm64"}, {Key: "platform", Value: "linux/amd64"},
			{Key: "label", Value: "a=#1"}, {Key: "label", Value: "b"}, {Key: "profile", Value: "prod"}, {Key: "policy", Value: "missing"},
		}},
		{Place: list.Place{File: "images", Line: 6}, Ref: "last"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestMistakesNameTheirPlace: what is wrong, where, and what to do.
func TestMistakesNameTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"a\n\nb c":                          `x:3: "c" behind the reference: want platform=, profile=, label=, policy= | a list has one reference in each line, and values hold no blanks`,
		"a snapshotter=x":                   `x:1: "snapshotter=x" behind the reference: want platform=, profile=, label=, policy= | other settings belong into a profile, which profile= names`,
		"a label=":                          `x:1: label= has no value`,
		"a profile=x profile=y":             `x:1: profile= stands twice`,
		"policy=missing a":                  `x:1: "policy=missing" stands before the reference | the reference is the first word of its line`,
		"a\nb " + strings.Repeat("c", 9000): `x:2: the line has more than 8192 bytes | a list has one reference in each line`,
		"a\n\x1b[31mred b\n":                "",
		"a b\x1b]0;x":                       `x:1: "b\x1b]0;x" behind the reference: want platform=, profile=, label=, policy= | a list has one reference in each line, and values hold no blanks`,
	} {
		_, err := list.Lines("x", []byte(text))
		if got := told(err); want != "" && got != want {
			t.Errorf("%.20q: got %s\nwant %s", text, got, want)
		}
	}
}

// told is an error with its hint.
func told(err error) string {
	if err == nil {
		return "no error"
	}
	if hint := failure.HintOf(err); hint != "" {
		return err.Error() + " | " + hint
	}
	return err.Error()
}

func refs(entries []list.Entry) (all []string) {
	for _, e := range entries {
		all = append(all, fmt.Sprintf("%s %s:%d", e.Ref, filepath.Base(e.File), e.Line))
	}
	return all
}

// TestFolder: of a folder only lists count, in the order of their names.
func TestFolder(t *testing.T) {
	dir := write(t, map[string]string{
		"20-b.conf": "b\n", "10-a.conf": "# none\n\na", ".hidden.conf": "h", "30.conf~": "old", "readme.txt": "text", "sub/40.conf": "s",
	})
	got, err := list.Lists(dir, noStdin)
	if want := []string{"a 10-a.conf:3", "b 20-b.conf:1"}; err != nil || !slices.Equal(refs(got), want) {
		t.Errorf("got %q, %v, want %q", refs(got), err, want)
	}
	if _, err = list.Lists(filepath.Join(dir, "sub/.."), noStdin); err != nil {
		t.Error(err)
	}
	empty := write(t, map[string]string{"a.list": "a"})
	if _, err = list.Lists(empty, noStdin); told(err) != empty+": the folder has no list in it | the names of lists in a folder end in .conf" {
		t.Errorf("a folder without lists: got %s", told(err))
	}
}

// TestNoLists: what --from reads is told from a list with a mistake.
func TestNoLists(t *testing.T) {
	for text, want := range map[string]bool{
		"FROM a AS b\n": true, "# c\nARG A\nFROM a\n": true, "apiVersion: v1\nkind: Pod\n": true, "a: b\nservices: x y\n": true,
		"a b\n": false, "kind/a b\n": false,
	} {
		_, err := list.Lists(list.Stdin, func() ([]byte, error) { return []byte(text), nil })
		if got := strings.Contains(told(err), "| --from - reads "); got != want {
			t.Errorf("%q: got %s", text, told(err))
		}
	}
}

// TestText: texts of other systems are read or refused, and never guessed.
func TestText(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"mark of byte order", "\ufeffa\r\nb\r\n", "a b"},
		{"nothing", "", ""},
		{"only comments", "# a\n\n", ""},
		{"UTF-16", "\xff\xfea\x00\n\x00", "$: is written in UTF-16 | save it as UTF-8"},
		{"UTF-16 of the other end", "\xfe\xff\x00a", "$: is written in UTF-16 | save it as UTF-8"},
		{"NUL", "a\nb\x00\n", "$:2: is no text"},
		{"Latin-1", "a\n\n# caf\xe9\n", "$:3: is no text"},
		{"one line without end", strings.Repeat("a", list.MaxList/2), "$:1: the line has more than 8192 bytes | a list has one reference in each line"},
		{"too much", strings.Repeat("a\n", list.MaxList/2+1), "$: has more than 4194304 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(write(t, map[string]string{"l": tc.text}), "l")
			for name, read := range map[string]func() ([]list.Entry, error){
				path: func() ([]list.Entry, error) { return list.Lists(path, noStdin) },
				"stdin": func() ([]list.Entry, error) {
					return list.Lists(list.Stdin, func() ([]byte, error) { return []byte(tc.text), nil })
				},
			} {
				entries, err := read()
				var names []string
				for _, e := range entries {
					names = append(names, e.Ref)
				}
				got := strings.Join(names, " ")
				if err != nil {
					got = told(err)
				}
				if want := strings.Replace(tc.want, "$", name, 1); got != want {
					t.Errorf("%s: got %s, want %s", name, got, want)
				}
			}
		})
	}
}

// TestUnreadable: a file that cannot be read is named, and one that others can write
// does not count.
func TestUnreadable(t *testing.T) {
	dir := write(t, map[string]string{"open/l": "a", "l": "a", "a.conf": "a", "b.conf/c": "is a folder"})
	if _, err := list.Lists(filepath.Join(dir, "none"), noStdin); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), dir) {
		t.Errorf("got %v, want an error that names the file", err)
	}
	if _, err := list.Lists(dir, noStdin); !errors.Is(err, userfile.ErrNoFile) || !strings.Contains(err.Error(), "b.conf") {
		t.Errorf("got %v, want the folder in the place of a list", err)
	}
	if err := os.Chmod(filepath.Join(dir, "l"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := list.Lists(filepath.Join(dir, "l"), noStdin); !errors.As(err, new(*userfile.Foreign)) {
		t.Errorf("got %v, want a list that others can write to be refused", err)
	}
	broken := errors.New("broken pipe")
	if _, err := list.Lists(list.Stdin, func() ([]byte, error) { return nil, broken }); !errors.Is(err, broken) || err.Error() != "stdin: broken pipe" {
		t.Errorf("got %v, want that of stdin", err)
	}
}

// FuzzLines: a list parses into what its lines hold, or the error names its line.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"alpine", "a platform=b # c\r\n\n#\nd", "a b", "a=b", "#", "a label=x=y label=z policy=p", "\u00a0a\u2028b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		entries, err := list.Lines("x", []byte(s))
		if err != nil {
			wrong, ok := errors.AsType[*list.Error](err)
			if !ok || wrong.Line < 1 || wrong.Line > strings.Count(s, "\n")+1 || entries != nil {
				t.Fatalf("got %v and %d entries, want the line of the mistake alone", err, len(entries))
			}
			return
		}
		lines := strings.Split(s, "\n")
		last := 0
		for _, e := range entries {
			if e.Line <= last || e.Line > len(lines) {
				t.Fatalf("got line %d after %d of %d", e.Line, last, len(lines))
			}
			last = e.Line
			again := e.Ref
			for _, w := range e.Words {
				again += " " + w.Key + "=" + w.Value
			}
			if words, _, _ := strings.Cut(" "+strings.Join(strings.Fields(lines[e.Line-1]), " "), " #"); words != " "+again {
				t.Fatalf("line %q: got %q", lines[e.Line-1], again)
			}
		}
	})
}
