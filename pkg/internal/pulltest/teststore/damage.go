package teststore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Damage is what a disk, a crash or another program does to a file or a folder.
type Damage string

// The kinds of damage.
const (
	Removed    Damage = "removed"
	Emptied    Damage = "emptied"
	Halved     Damage = "cut in half"
	Garbled    Damage = "one page garbled"
	Zeroed     Damage = "zeroed"
	Replaced   Damage = "replaced by another's"
	Unreadable Damage = "unreadable" // for ordinary users; root reads all the same
)

// Damages are all kinds, in the order of the matrix of docs/reliability.md.
func Damages() []Damage {
	return []Damage{Removed, Emptied, Halved, Garbled, Zeroed, Replaced, Unreadable}
}

// page is as much as Garbled overwrites.
const page = 4096

// Do damages the file or folder at path. other is a file or folder of the same sort
// that replaces it. It reports false where there is no such damage: a folder has no
// pages. The page that is garbled is the one in the middle.
func (d Damage) Do(t testing.TB, path, other string) bool {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case d == Removed:
		err = os.RemoveAll(path)
	case d == Unreadable:
		err = os.Chmod(path, 0)
	case d == Replaced && info.IsDir():
		err = errors.Join(os.RemoveAll(path), os.CopyFS(path, os.DirFS(other)))
	case d == Emptied && info.IsDir():
		err = empty(path)
	case info.IsDir():
		return false
	default:
		err = d.doFile(path, other)
	}
	if err != nil {
		t.Fatalf("damaging %s: %v", path, err)
	}
	return true
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// doFile rewrites a file in place, with its mode.
func (d Damage) doFile(path, other string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	switch d {
	case Emptied:
		data = nil
	case Halved:
		data = data[:len(data)/2]
	case Garbled:
		garble(data, len(data)/2/page)
	case Zeroed:
		clear(data)
	case Replaced:
		if data, err = os.ReadFile(other); err != nil {
			return err
		}
	}
	return rewrite(path, data, info.Mode().Perm())
}

func rewrite(path string, data []byte, mode fs.FileMode) error {
	if err := os.Chmod(path, mode|0o200); err != nil { // a blob is only read
		return err
	}
	return errors.Join(os.WriteFile(path, data, mode), os.Chmod(path, mode))
}

func garble(data []byte, number int) {
	at := number * page
	copy(data[at:min(at+page, len(data))], bytes.Repeat([]byte("garbled "), page/8))
}
