package userfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is a folder, link or file that a path leads over or to.
type entry struct {
	path string // as it was reached, for messages
	st   unix.Stat_t
	dir  *os.File // the folder that it is in, the root for itself
	name string   // in that folder
	// inShared are the bits by which others can make entries in the folder that it
	// is in, and belowShared those of all folders on the way.
	inShared, belowShared uint32
	// last is set for what the path leads to.
	last bool
}

// judge returns why an entry does not count, nil if it does.
type judge func(entry) error

// isKind reports whether an entry is of a kind, such as S_IFDIR.
func isKind(st unix.Stat_t, kind uint32) bool { return st.Mode&unix.S_IFMT == kind }

// way is a path that is followed up to its last entry, with a handle of the folder
// that was reached. The caller closes it.
type way struct {
	dir         *os.File
	path        string // of dir
	shared      uint32 // bits by which others can make entries in dir
	belowShared uint32
	rest        []string // names that are still to be followed
	links       int
	makes       bool // folders that are missing

	name   string      // of the last entry, in dir
	st     unix.Stat_t // of the last entry, if there is one
	absent bool        // there is none
	// magic is set if the last entry is a link of procfs to something open: it
	// may lead to what has no name.
	magic bool
}

// maxLinks is how many links a path may lead over, as in the kernel.
const maxLinks = 40

// follow follows a path and lets all entries that it leads over be judged, but for
// the last one. That may be absent.
func follow(path string, by judge) (*way, error) { return new(way).follow(path, by) }

func (w *way) follow(path string, by judge) (*way, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w.rest = split(abs)
	err = w.restart(by)
	for err == nil && len(w.rest) > 0 {
		err = w.step(by)
	}
	if err == nil {
		return w, nil
	}
	w.close()
	if errno, ok := err.(unix.Errno); ok {
		err = &fs.PathError{Op: "open", Path: path, Err: errno}
	}
	return nil, of(path, err)
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func (w *way) close() {
	if w.dir != nil {
		_ = w.dir.Close()
	}
}

// restart goes to the root of the file system.
func (w *way) restart(by judge) error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.close()
	w.dir, w.path, w.name = os.NewFile(uintptr(fd), "/"), "/", "."
	if err := unix.Fstat(fd, &w.st); err != nil {
		return err
	}
	w.shared = 0
	return w.enter(w.dir, w.entry(".", w.st), by)
}

// entry is what has a name in the folder that was reached.
func (w *way) entry(name string, st unix.Stat_t) entry {
	return entry{
		path: filepath.Join(w.path, name), st: st, dir: w.dir, name: name,
		inShared: w.shared, belowShared: w.belowShared, last: len(w.rest) == 0,
	}
}

// enter makes f, which is e, the folder that was reached.
func (w *way) enter(f *os.File, e entry, by judge) error {
	e.last = false
	if err := by(e); err != nil {
		return err
	}
	if f != w.dir {
		_ = w.dir.Close()
	}
	w.dir, w.path = f, e.path
	w.shared = e.st.Mode & 0o022
	w.belowShared |= w.shared
	return nil
}

// step follows the next name.
func (w *way) step(by judge) error {
	name := w.rest[0]
	w.rest = w.rest[1:]
	f, st, err := openEntry(w.dir, name)
	if w.makes && errors.Is(err, unix.ENOENT) {
		if err = unix.Mkdirat(int(w.dir.Fd()), name, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
			f, st, err = openEntry(w.dir, name)
		}
	}
	if errors.Is(err, unix.ENOENT) && len(w.rest) == 0 {
		w.name, w.absent = name, true
		return nil
	}
	if err != nil {
		return err
	}
	e := w.entry(name, st)
	switch {
	case len(w.rest) > 0 && isKind(st, unix.S_IFDIR):
		if err = w.enter(f, e, by); err == nil {
			return nil
		}
	case isKind(st, unix.S_IFLNK):
		err = w.link(f, e, by)
	case len(w.rest) > 0:
		err = unix.ENOTDIR
	default:
		w.name, w.st = name, st
	}
	_ = f.Close()
	return err
}

// openEntry returns a handle of an entry itself, without opening a file or
// following a link. A folder is opened as one, so that it is mounted if that is
// put off until its use.
func openEntry(dir *os.File, name string) (*os.File, unix.Stat_t, error) {
	const itself = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	var st unix.Stat_t
	fd, err := unix.Openat(int(dir.Fd()), name, itself|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOTDIR) {
		fd, err = unix.Openat(int(dir.Fd()), name, itself, 0)
	}
	if err != nil {
		return nil, st, err
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fstat(fd, &st); err != nil {
		_ = f.Close()
		return nil, st, err
	}
	return f, st, nil
}

// link puts what the link leads to in front of the names that are left.
func (w *way) link(f *os.File, e entry, by judge) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	var in unix.Statfs_t
	if err := unix.Fstatfs(int(w.dir.Fd()), &in); err != nil {
		return err
	}
	if in.Type == unix.PROC_SUPER_MAGIC {
		return w.procLink(e, by)
	}
	if err := by(e); err != nil {
		return err
	}
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", text)
	if err != nil {
		return err
	}
	w.rest = append(split(string(text[:n])), w.rest...)
	if filepath.IsAbs(string(text[:n])) {
		return w.restart(by)
	}
	return nil
}

// procLink lets the kernel follow a link that the kernel itself has made: its text
// need not be a path.
func (w *way) procLink(e entry, by judge) error {
	if len(w.rest) == 0 {
		w.name, w.magic = e.name, true
		return unix.Fstatat(int(w.dir.Fd()), e.name, &w.st, 0)
	}
	fd, err := unix.Openat(int(w.dir.Fd()), e.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), e.name)
	err = unix.Fstat(fd, &e.st)
	if err == nil {
		err = w.enter(f, e, by)
	}
	if err != nil {
		_ = f.Close()
	}
	return err
}
