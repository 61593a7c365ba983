package layer

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxHandles is how many directories of a layer are kept open. Archives are
	// written directory by directory, so that even a few would do.
	maxHandles = 256
	// maxAliases bounds what is remembered of names with links in them.
	maxAliases = 4096

	pathFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	dirFlags  = pathFlags | unix.O_NOFOLLOW
)

// dir is a directory in a tree, kept open as a place to work in.
type dir struct {
	fd   int
	path string // below the root and free of links; "" is the root
	used uint64
	// implicit is set if the archive did not list the directory before it used it.
	implicit *Directory
}

// join is the path of name in d.
func (d *dir) join(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// tree is a directory in which names are resolved, and what is known about it,
// which stays true as long as nothing but its owner changes the directory.
type tree struct {
	sys     Reader
	root    *dir
	openat2 bool // whether that can be called for sys
	limit   int
	dirs    map[string]*dir // by dir.path; the root is not among them
	// aliases are names with links in them and the paths that they lead to.
	aliases map[string]string
	// implicit are those of its directories that no entry of an archive listed.
	implicit implicitDirs
	clock    uint64
}

// opener opens the directory at a path that is free of links.
type opener func(path string) (*dir, error)

// openTree has at most limit of the directories of sys open at a time.
func openTree(sys Reader, limit int) (*tree, error) {
	fd, err := sys.Root()
	if err != nil {
		return nil, err
	}
	t := &tree{sys: sys, root: &dir{fd: fd}, limit: limit, dirs: map[string]*dir{}, aliases: map[string]string{}}
	if k, ok := sys.(kernel); ok {
		t.openat2 = k.hasOpenat2(fd)
	}
	return t, nil
}

func (t *tree) close() error {
	err := t.sys.Close(t.root.fd)
	for _, d := range t.dirs {
		err = errors.Join(err, t.sys.Close(d.fd))
	}
	return err
}

// at opens the directory that name leads to. If no link is met on the way, name is
// the path itself; otherwise it is rewritten first.
func (t *tree) at(name string, open opener) (*dir, error) {
	if p, ok := t.aliases[name]; ok {
		return open(p)
	}
	if p, ok := plain(name); ok {
		d, err := open(p)
		if err != unix.ELOOP {
			return d, err
		}
	}
	p, err := t.resolve(name)
	if err != nil {
		return nil, err
	}
	t.remember(name, p)
	return open(p)
}

// remember adds an alias. It keeps few names and none that are longer than a path
// can be, so that an archive cannot fill the memory with them.
func (t *tree) remember(name, path string) {
	if len(name) >= unix.PathMax {
		return
	}
	if len(t.aliases) >= maxAliases {
		clear(t.aliases)
	}
	t.aliases[name] = path
}

// plain returns name as a path below the root, if that is the same whatever the
// root holds.
func plain(name string) (string, bool) {
	if strings.Contains(name, "..") {
		return "", false
	}
	name = path.Clean(strings.Trim(name, "/"))
	if name == "." {
		name = ""
	}
	return name, true
}

// open opens an existing directory. ELOOP means that there is a link in path,
// ENOENT that a part of it does not exist.
func (t *tree) open(path string) (*dir, error) {
	if d := t.kept(path); d != nil {
		return d, nil
	}
	fd, err := t.openDir(path)
	if err != nil {
		return nil, err
	}
	return t.keep(fd, path), nil
}

func (t *tree) kept(path string) *dir {
	if path == "" {
		return t.root
	}
	d := t.dirs[path]
	if d != nil {
		t.clock++
		d.used = t.clock
	}
	return d
}

func (t *tree) openDir(path string) (int, error) {
	if t.openat2 {
		// Without O_NOFOLLOW, which would make a link at the end a mere ENOTDIR.
		return openat2(t.root.fd, path, resolveDir, pathFlags)
	}
	if len(path) >= unix.PathMax { // as for the kernel
		return -1, unix.ENAMETOOLONG
	}
	parent, base := split(path)
	d, err := t.open(strings.TrimSuffix(parent, "/"))
	if err != nil {
		return -1, err
	}
	fd, err := t.sys.OpenDir(d.fd, base)
	if err == unix.ENOTDIR && t.isLink(d.fd, base) {
		return -1, unix.ELOOP
	}
	return fd, err
}

func (t *tree) isLink(dirfd int, name string) bool { return t.isKind(dirfd, name, unix.S_IFLNK) }

func (t *tree) isDir(dirfd int, name string) bool { return t.isKind(dirfd, name, unix.S_IFDIR) }

func (t *tree) isKind(dirfd int, name string, kind uint32) bool {
	var st unix.Stat_t
	return t.sys.Stat(dirfd, name, &st) == nil && st.Mode&unix.S_IFMT == kind
}

// keep adds a directory to those kept open. The one used least recently makes
// room; it cannot be in use, since nothing uses more than two at a time.
func (t *tree) keep(fd int, path string) *dir {
	if len(t.dirs) >= t.limit {
		t.drop(t.oldest())
	}
	t.clock++
	d := &dir{fd: fd, path: path, used: t.clock, implicit: t.implicit.byPath[path]}
	t.dirs[path] = d
	return d
}

func (t *tree) oldest() (oldest *dir) {
	for _, d := range t.dirs {
		if oldest == nil || d.used < oldest.used {
			oldest = d
		}
	}
	return oldest
}

func (t *tree) drop(d *dir) {
	delete(t.dirs, d.path)
	_ = t.sys.Close(d.fd) // nothing can be lost by closing an O_PATH handle
}

// forget drops what was known of the directory at path and of all below.
func (t *tree) forget(path string) {
	clear(t.aliases)
	for p, d := range t.dirs {
		if within(p, path) {
			t.drop(d)
		}
	}
}

// within reports whether p is path or below it.
func within(p, path string) bool {
	rest, ok := strings.CutPrefix(p, path)
	return ok && (rest == "" || rest[0] == '/')
}

// split is path.Split, and like it keeps the slash, with which the oracle resolves
// names.
func split(name string) (parent, base string) {
	i := strings.LastIndexByte(name, '/')
	return name[:i+1], name[i+1:]
}
