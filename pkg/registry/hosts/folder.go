package hosts

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// maxFile bounds, in bytes, a hosts.toml and a file of certificates or of a key.
const maxFile = 4 << 20

// folder is the directory of a registry, before containerd reads it.
type folder struct {
	path  string
	found bool // by search
}

// hostsFile is the file of a directory that describes the hosts.
const hostsFile = "hosts.toml"

// check reads what containerd will read, so that this ends. Its error is a
// *userfile.Foreign if another user may have written a part of it. Missing files
// are containerd's to report.
func (f folder) check() error {
	if f.found {
		if err := userfile.Check(f.path); err != nil {
			return err
		}
	}
	_, err := f.files()
	return err
}

// files reads what containerd takes from the directory, by the names that it has
// there: hosts.toml and the files that it names, or else all certificates and keys.
// What is missing is left out.
func (f folder) files() (map[string][]byte, error) {
	all := map[string][]byte{}
	text, err := f.read(hostsFile)
	names := namedIn(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		names = f.certificateNames()
	case err != nil:
		return nil, err
	default:
		all[hostsFile] = text
	}
	for _, name := range names {
		data, err := f.read(name)
		if err == nil {
			all[name] = data
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return all, nil
}

// LeftOut lists, of the directories of registries in dirs, why those do not count
// that were found by search and that another user may have written.
func LeftOut(dirs []string) []*userfile.Foreign {
	var list []*userfile.Foreign
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // one that cannot be listed is no change
		for _, e := range entries {
			err := folder{filepath.Join(dir, e.Name()), true}.check()
			if foreign, ok := errors.AsType[*userfile.Foreign](err); ok {
				list = append(list, foreign)
			}
		}
	}
	return list
}

// certificateNames are those of the files that containerd takes from a directory without
// a hosts.toml.
func (f folder) certificateNames() []string {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil // containerd's to report
	}
	var names []string
	for _, e := range entries {
		if slices.Contains([]string{".crt", ".cert", ".key"}, filepath.Ext(e.Name())) {
			names = append(names, e.Name())
		}
	}
	return names
}

// read reads a file of the directory, or one that its hosts.toml names elsewhere.
func (f folder) read(name string) ([]byte, error) {
	read := userfile.Named
	if f.found && !filepath.IsAbs(name) || f.found && filepath.Dir(name) == f.path {
		read = userfile.Found
	}
	name = f.at(name)
	// containerd would wait for a pipe without a bound.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: userfile.ErrNoFile}
	}
	content, err := read(name, maxFile)
	return content.Data, err
}

// certificates are the keys of a hosts.toml that name files: a text, or lists of
// texts.
type certificates struct {
	CA     any                     `toml:"ca"`
	Client any                     `toml:"client"`
	Host   map[string]certificates `toml:"host"`
}

// namedIn lists the files that a hosts.toml names, in an order that their names do not
// change.
func namedIn(text []byte) []string {
	var c certificates
	if toml.Unmarshal(text, &c) != nil {
		return nil // containerd's to report
	}
	return c.files()
}

func (c certificates) files() []string {
	names := append(texts(c.CA), texts(c.Client)...)
	for _, name := range slices.Sorted(maps.Keys(c.Host)) {
		names = append(names, c.Host[name].files()...)
	}
	return names
}

// texts lists the texts in lists within lists.
func texts(node any) []string {
	switch node := node.(type) {
	case string:
		return []string{node}
	case []any:
		var all []string
		for _, item := range node {
			all = append(all, texts(item)...)
		}
		return all
	}
	return nil
}
