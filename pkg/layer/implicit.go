package layer

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// implicitMode is the mode of directories of which nothing is known.
const implicitMode = 0o755

// Directory is a directory that Apply made because the archive uses it without
// listing it. It has no attributes of its own until Inherit.
type Directory struct {
	path string
	// listed is set if a later entry gave it owner, mode and times after all.
	listed bool
	// filled is set if something was made in it, so that its time is that of the
	// unpack.
	filled bool
}

// touch records that something was made in d.
func (d *dir) touch() {
	if d.implicit != nil {
		d.implicit.filled = true
	}
}

// implicitDirs are the directories of a layer that it did not list.
type implicitDirs struct {
	order  []*Directory
	byPath map[string]*Directory
}

func (s *implicitDirs) add(path string) {
	if s.byPath == nil {
		s.byPath = map[string]*Directory{}
	}
	d := &Directory{path: path}
	s.order = append(s.order, d)
	s.byPath[path] = d
}

func (s *implicitDirs) listed(path string) {
	if d := s.byPath[path]; d != nil {
		d.listed = true
	}
}

// forget drops the directory at path, which was removed, and all below.
func (s *implicitDirs) forget(path string) {
	kept := s.order[:0]
	for _, d := range s.order {
		if within(d.path, path) {
			delete(s.byPath, d.path)
		} else {
			kept = append(kept, d)
		}
	}
	s.order = kept
}

func (s *implicitDirs) list() []Directory {
	list := make([]Directory, 0, len(s.order))
	for _, d := range s.order {
		list = append(list, *d)
	}
	return list
}

// ensure opens the directory at path, which it creates with its parents if it
// is not there.
func (a *applier) ensure(path string) (*dir, error) {
	if d := a.kept(path); d != nil {
		return d, nil
	}
	d, err := a.open(path)
	if err != unix.ENOENT {
		return d, err
	}
	for i, c := range path { // from the top: each step is one below what was opened before
		if c != '/' {
			continue
		}
		_, err := a.open(path[:i])
		if err == unix.ENOENT {
			_, err = a.mkdir(path[:i])
		}
		if err != nil {
			return nil, err
		}
	}
	return a.mkdir(path)
}

// mkdir creates a directory in one that is there.
func (a *applier) mkdir(path string) (*dir, error) {
	above, base := split(path)
	parent, err := a.open(strings.TrimSuffix(above, "/"))
	if err != nil {
		return nil, err
	}
	a.become(0, 0)
	if err := a.sys.Mkdir(parent.fd, base, implicitMode); err != nil {
		return nil, fmt.Errorf("creating the parent directory %s: %w", quoted(path), err)
	}
	parent.touch()
	a.usage.postpone(parent, base)
	if a.opts.Whiteouts == Overlay && a.lowers == nil {
		a.implicit.add(path)
	}
	d, err := a.open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the parent directory %s: %w", quoted(path), err)
	}
	var st unix.Stat_t
	if err := a.sys.Stat(d.fd, ".", &st); err != nil {
		return nil, err
	}
	if st.Mode&modeBits != implicitMode {
		if err := a.sys.Chmod(d.fd, ".", implicitMode); err != nil {
			return nil, err
		}
	}
	if err := a.lowers.give(a.sys, d); err != nil {
		return nil, fmt.Errorf("completing the parent directory %s: %w", quoted(path), err)
	}
	return d, nil
}
