// Package list reads the names of images out of files: lists with one reference in
// each line (lines.go), and files that describe containers or builds (from.go): those
// of Kubernetes, Compose files, Dockerfiles.
//
// Every entry knows the file and the line that it comes from, and so does every
// error. The package completes no names and knows no settings: what a line gives to
// its image is handed on as text. Start reading at Lists and at Reader.
package list

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// Stdin is how a caller names the standard input in the place of a file.
const Stdin = "-"

// NameOf is what messages call the file at path.
func NameOf(path string) string {
	if path == Stdin {
		return "stdin"
	}
	return path
}

// MaxList bounds a list in bytes.
const MaxList = 4 << 20

// Entry is one image that a file names.
type Entry struct {
	Place
	Ref   string // as it stands there
	Words []Word // what holds for this image alone, in the order of the line
}

// Word is a setting of one image.
type Word struct{ Key, Value string }

// Place is a line of a file.
type Place struct {
	File string
	Line int // from 1 on
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Error is a mistake in a file: where, and what.
type Error struct {
	Place // without a line if it concerns the whole file
	Err   error
	hint  string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Place, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do about it; without one of its own, the cause may know.
func (e *Error) Hint() string { return e.hint }

// Wrong is err about what stands at p.
func (p Place) Wrong(err error) *Error { return &Error{Place: p, Err: err} }

func (p Place) wrongf(format string, args ...any) *Error { return p.Wrong(fmt.Errorf(format, args...)) }

func (e *Error) withHint(format string, args ...any) *Error {
	e.hint = fmt.Sprintf(format, args...)
	return e
}

// dropIn is how the names of the lists in a folder end.
const dropIn = ".conf"

// Lists reads the list that path names, or those of a folder in the order of their
// names. What stdin returns is the list of Stdin.
func Lists(path string, stdin func() ([]byte, error)) ([]Entry, error) {
	paths := []string{path}
	if info, err := os.Stat(path); path != Stdin && err == nil && info.IsDir() {
		if paths, err = listsIn(path); err != nil {
			return nil, err
		}
	}
	var all []Entry
	for _, one := range paths {
		name, data, err := read(one, MaxList, stdin)
		if err != nil {
			return nil, err
		}
		entries, err := Lines(name, data)
		if wrong, ok := errors.AsType[*Error](err); ok && describesImages(data) {
			err = wrong.withHint("--from %s reads Kubernetes resources, Compose files and Dockerfiles", one)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// beginnings are lines by which files for Reader are known that were taken for lists.
var beginnings = regexp.MustCompile(`(?m)^(apiVersion|kind|services|include):`)

// describesImages reports whether what is no list may be something for Reader.
func describesImages(data []byte) bool { return isDockerfile(data) || beginnings.Match(data) }

// listsIn names the lists of a folder. Hidden files are none: editors leave some.
func listsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, Place{File: dir}.Wrong(reason(err))
	}
	var paths []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == dropIn && !strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, Place{File: dir}.wrongf("the folder has no list in it").withHint("the names of lists in a folder end in %s", dropIn)
	}
	slices.Sort(paths)
	return paths, nil
}

// read returns what a file or the standard input holds, as UTF-8 text, and what
// messages call it.
func read(path string, most int64, stdin func() ([]byte, error)) (name string, data []byte, err error) {
	name = NameOf(path)
	if path != Stdin {
		data, err = readFile(path, most)
		return name, data, err
	}
	if data, err = stdin(); err != nil {
		return "", nil, Place{File: name}.Wrong(reason(err))
	}
	if int64(len(data)) > most {
		return "", nil, Place{File: name}.wrongf("has more than %d bytes", most)
	}
	data, err = textOf(name, data)
	return name, data, err
}

// readFile returns what the file at path holds, as UTF-8 text.
func readFile(path string, most int64) ([]byte, error) {
	f, err := userfile.Named(path, most)
	if _, foreign := errors.AsType[*userfile.Foreign](err); foreign {
		return nil, err // it names the file
	}
	if err != nil {
		return nil, Place{File: path}.Wrong(reason(err))
	}
	return textOf(path, f.Data)
}

// reason takes the path out of an error of the file system.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// textOf takes the mark of byte order off a text, and refuses what is none.
func textOf(name string, data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return nil, Place{File: name}.wrongf("is written in UTF-16").withHint("save it as UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.IndexByte(data, 0) < 0 && utf8.Valid(data) {
		return data, nil
	}
	line := 1
	for one := range bytes.Lines(data) {
		if bytes.IndexByte(one, 0) >= 0 || !utf8.Valid(one) {
			break
		}
		line++
	}
	return nil, Place{name, line}.wrongf("is no text")
}

// quoted returns foreign text for a message.
func quoted(s string) string { return printable.Quote(s, maxQuoted) }

// maxQuoted bounds in bytes what messages repeat of a file.
const maxQuoted = 100
