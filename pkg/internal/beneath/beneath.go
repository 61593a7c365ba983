// Package beneath opens what lies under paths that others name: the folders of a
// daemon, and those of a root that was made elsewhere. What it returns is open, and
// all work is done through it: a path is looked up once.
//
// A folder is safe if root or this user owns it and no other user can write it, or only
// add to it as to /tmp; what is opened there has to be of such an owner as well. Root
// leads to a folder through safe ones only; Open, Sub and File then go down from it
// name by name and follow no link, as openat2 does with RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS. They do so on every kernel, since
// the owner of each folder on the way counts. Read Root first.
package beneath

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lookFlags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	dirFlags  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	// maxLinks is how many links Linux follows in one path.
	maxLinks = 40
)

// Root opens the folder at an absolute path. It and every folder on the way to it
// must be safe. Links of root and of this user are followed. The error is an
// *UnsafeError where a folder is not safe.
func Root(name string) (*os.File, error) {
	w, err := follow(name, false)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if w.last.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, &os.PathError{Op: "open", Path: name, Err: unix.ENOTDIR}
	}
	if err := w.last.safe(); err != nil {
		return nil, err
	}
	return openDir(w.last.fd, ".", name)
}

// Check is nil if no other user can put something else at an absolute path: root
// or this user owns what lies there, and every folder on the way is safe as for
// Root. The way may lead through a process of such a user, as /proc/PID/root does.
func Check(name string) error {
	w, err := follow(name, true)
	if err != nil {
		return err
	}
	w.close()
	return w.last.owned()
}

// Open opens the folder name, a relative path, beneath dir. No part of it may be a
// link, and every folder from dir to the last must be safe.
func Open(dir *os.File, name string) (*os.File, error) {
	at, err := duplicate(dir)
	for part := range strings.SplitSeq(path.Clean(name), "/") {
		if err != nil || part == "." {
			break
		}
		above := at
		at, err = Sub(above, part)
		_ = above.Close() // nothing is lost with a handle on a folder
	}
	if err != nil {
		return nil, err
	}
	if err := safe(at); err != nil {
		_ = at.Close() // nothing is lost with a handle on a folder
		return nil, err
	}
	return at, nil
}

// Sub opens the folder name in dir, which must be safe. The folder itself may be of
// any owner, as that of a layer is of the one that its image says, unless other users
// can add to dir.
func Sub(dir *os.File, name string) (*os.File, error) {
	above, err := enter(dir, name)
	if err != nil {
		return nil, err
	}
	f, err := openDir(above.fd, name, path.Join(dir.Name(), name))
	if err != nil || !above.isSticky() {
		return f, err
	}
	n, err := nodeOf(f)
	if err == nil {
		err = n.owned()
	}
	if err != nil {
		_ = f.Close() // nothing is lost with a handle on a folder
		return nil, err
	}
	return f, nil
}

// File opens the file name in dir, which must be safe. It must be a regular one that
// root or this user owns: opening anything else could wait, or act.
func File(dir *os.File, name string, flags int) (*os.File, error) {
	if _, err := enter(dir, name); err != nil {
		return nil, err
	}
	n, err := look(int(dir.Fd()), name, path.Join(dir.Name(), name))
	if err != nil {
		return nil, err
	}
	defer unix.Close(n.fd)
	if n.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "open", Path: n.path, Err: unix.EINVAL}
	}
	if err := n.owned(); err != nil {
		return nil, err
	}
	fd, err := unix.Open(procPath(n.fd), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: n.path, Err: err}
	}
	return os.NewFile(uintptr(fd), n.path), nil
}

// Path is a path to what f has open, for libraries that want one. It stays the
// same file whatever is renamed, for as long as f is open.
func Path(f *os.File) string { return procPath(int(f.Fd())) }

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// enter returns the folder dir, which must be safe. name must be one name.
func enter(dir *os.File, name string) (node, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return node{}, &os.PathError{Op: "open", Path: path.Join(dir.Name(), name), Err: unix.EXDEV}
	}
	n, err := nodeOf(dir)
	if err == nil {
		err = n.safe()
	}
	return n, err
}

func safe(dir *os.File) error {
	n, err := nodeOf(dir)
	if err != nil {
		return err
	}
	return n.safe()
}

// nodeOf is the node that f has open.
func nodeOf(f *os.File) (node, error) {
	n := node{fd: int(f.Fd()), path: f.Name()}
	if err := unix.Fstat(n.fd, &n.st); err != nil {
		return node{}, &os.PathError{Op: "stat", Path: n.path, Err: err}
	}
	return n, nil
}

func openDir(at int, name, full string) (*os.File, error) {
	fd, err := unix.Openat(at, name, dirFlags, 0)
	if err == unix.ENOTDIR && isLink(at, name) {
		err = unix.ELOOP
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}

func isLink(at int, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "dup", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// way is a path that is followed from the root, through safe folders.
type way struct {
	dirs      []node // those that are open, the root first
	last      node   // what the path leads to
	links     int
	processes bool // whether it may lead through processes
}

func (w *way) close() {
	for _, d := range w.dirs {
		unix.Close(d.fd)
	}
	unix.Close(w.last.fd)
}

// follow opens what an absolute path leads to. The caller closes the way.
func follow(name string, processes bool) (*way, error) {
	if !path.IsAbs(name) {
		return nil, &os.PathError{Op: "open", Path: name, Err: unix.EINVAL}
	}
	top, err := look(unix.AT_FDCWD, "/", "/")
	if err != nil {
		return nil, err
	}
	w := &way{last: top, processes: processes}
	parts := split(name)
	for err == nil && len(parts) > 0 {
		parts, err = w.step(parts)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func split(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(part string) bool { return part == "" || part == "." })
}

// step goes to the first of parts and returns what is left of them.
func (w *way) step(parts []string) ([]string, error) {
	name, rest := parts[0], parts[1:]
	if name == ".." {
		if n := len(w.dirs); n > 0 {
			unix.Close(w.last.fd)
			w.last, w.dirs = w.dirs[n-1], w.dirs[:n-1]
		}
		return rest, nil
	}
	next, err := look(w.last.fd, name, path.Join(w.last.path, name))
	if err != nil {
		return nil, err
	}
	if err := w.last.keeps(next); err != nil {
		unix.Close(next.fd)
		return nil, err
	}
	if next.st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.dirs, w.last = append(w.dirs, w.last), next
		return rest, nil
	}
	defer unix.Close(next.fd)
	if isOfProcess(next) {
		return rest, w.enterProcess(name, next)
	}
	return w.resolve(next, rest)
}

// isOfProcess reports whether the kernel made a link, of a process: what it leads to
// is not what its text says.
func isOfProcess(link node) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(link.fd, &st) != nil || st.Type == unix.PROC_SUPER_MAGIC
}

// enterProcess goes where the link name of a process leads. Who owns the process
// decides where that is.
func (w *way) enterProcess(name string, link node) error {
	err := link.owned()
	if !w.processes {
		err = &os.PathError{Op: "open", Path: link.path, Err: unix.ELOOP}
	}
	if err != nil {
		return err
	}
	next, err := open(w.last.fd, name, link.path, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	w.dirs, w.last = append(w.dirs, w.last), next
	return nil
}

// resolve replaces a link by the parts of its target.
func (w *way) resolve(link node, rest []string) ([]string, error) {
	if w.links++; w.links > maxLinks {
		return nil, &os.PathError{Op: "open", Path: link.path, Err: unix.ELOOP}
	}
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(link.fd, "", buf[:])
	if err != nil {
		return nil, &os.PathError{Op: "readlink", Path: link.path, Err: err}
	}
	target := string(buf[:n])
	if path.IsAbs(target) {
		for len(w.dirs) > 0 {
			unix.Close(w.last.fd)
			w.last, w.dirs = w.dirs[len(w.dirs)-1], w.dirs[:len(w.dirs)-1]
		}
	}
	return append(split(target), rest...), nil
}
