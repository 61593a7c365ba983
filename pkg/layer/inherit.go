package layer

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// lowerHandles is how many directories of each layer below are kept open.
const lowerHandles = 8

// defaultACL is the attribute of a directory from which what is made in it gets
// its ACL.
const defaultACL = "system.posix_acl_default"

// ErrOrder is the error of Inherit if files have been made in a directory that
// should have had a default ACL by then, and that of a Setter that cannot give a
// directory an attribute any more. The layer has to be applied again, with
// Options.Lowers.
var ErrOrder = errors.New("directories of a layer below, which this one takes after, have ACLs or other extended attributes")

// Inherit gives the directories that Apply made in the upper directory root
// without an entry of their own the attributes that they have below: owner,
// mode, times and extended attributes. lowers are the upper directories of the
// layers below, nearest first; all are open and stay so. It is called after Apply,
// when all the layers below are complete.
//
// A directory takes after the nearest layer that has it. A layer in which the
// name is something else, or is below something else, ends the search; what is
// found nowhere keeps root:root 0755. containerd does the same while it
// applies.
func Inherit(root Setter, below []Reader, dirs []Directory) (err error) {
	if len(dirs) == 0 || len(below) == 0 {
		return nil
	}
	upper, err := openTree(root, maxHandles)
	if err != nil {
		return err
	}
	h := heir{sys: root, upper: upper, groups: map[string]uint32{}}
	defer func() { err = errors.Join(err, upper.close(), h.lowers.close()) }()
	if h.lowers, err = openLowers(below); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := h.complete(d); err != nil {
			return fmt.Errorf("completing directory %q: %w", d.path, err)
		}
	}
	return nil
}

// lowers are the layers below one, nearest first.
type lowers []*tree

func openLowers(below []Reader) (all lowers, err error) {
	for _, lower := range below {
		t, err := openTree(lower, lowerHandles)
		if err != nil {
			return all, err
		}
		all = append(all, t)
	}
	return all, nil
}

// lower is a directory of a layer below.
type lower struct {
	*dir
	sys Reader
}

func (l *lower) stat(st *unix.Stat_t) error { return l.sys.Stat(l.fd, ".", st) }

func (l lowers) close() (err error) {
	for _, t := range l {
		err = errors.Join(err, t.close())
	}
	return err
}

// give gives a directory that was just made what it has below.
func (l lowers) give(sys Setter, to *dir) error {
	from, err := l.nearest(to.path)
	if from == nil || err != nil {
		return err
	}
	var st unix.Stat_t
	if err := from.stat(&st); err != nil {
		return err
	}
	if err := copyAttributes(sys, to, &st, false); err != nil {
		return err
	}
	_, err = copyXattrs(sys, to, from)
	return err
}

// heir is one Inherit under way.
type heir struct {
	sys    Setter
	upper  *tree
	lowers lowers
	// groups are the groups that directories pass on to what is made in them, by
	// path.
	groups map[string]uint32
}

func (h *heir) complete(d Directory) error {
	to, err := h.upper.open(d.path)
	if err != nil {
		return err
	}
	from, err := h.lowers.nearest(d.path)
	if err != nil {
		return err
	}
	if from == nil {
		return h.inheritGroup(to, d)
	}
	if d.filled && hasDefaultACL(*from) {
		return ErrOrder
	}
	var st unix.Stat_t
	if err := from.stat(&st); err != nil {
		return err
	}
	if st.Mode&unix.S_ISGID != 0 {
		h.groups[d.path] = st.Gid
	}
	if d.listed {
		return keepMode(h.sys, to, func() (bool, error) { return copyXattrs(h.sys, to, from) })
	}
	if err := copyAttributes(h.sys, to, &st, d.filled); err != nil {
		return err
	}
	_, err = copyXattrs(h.sys, to, from)
	return err
}

func hasDefaultACL(d lower) bool {
	n, err := d.sys.Getxattr(d.fd, defaultACL, nil)
	return err == nil && n > 0
}

// nearest returns the directory at path in the nearest layer that has it.
func (l lowers) nearest(path string) (*lower, error) {
	for _, t := range l {
		d, err := t.at("/"+path, t.open)
		switch err {
		case nil:
			return &lower{d, t.sys}, nil
		case unix.ENOENT:
			continue
		case unix.ENOTDIR, unix.ELOOP:
			return nil, nil
		}
		return nil, err
	}
	return nil, nil
}

// inheritGroup gives a directory that is new the group that it would have got if
// its parent had been complete when it was made.
func (h *heir) inheritGroup(to *dir, d Directory) error {
	gid, ok := h.groups[strings.TrimPrefix(path.Dir("/"+d.path), "/")]
	if !ok || d.listed {
		return nil
	}
	return h.sys.Chown(to.fd, ".", -1, int(gid))
}

func copyAttributes(sys Setter, to *dir, st *unix.Stat_t, filled bool) error {
	var has unix.Stat_t
	if err := sys.Stat(to.fd, ".", &has); err != nil {
		return err
	}
	if has.Uid != st.Uid || has.Gid != st.Gid {
		if err := sys.Chown(to.fd, ".", int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("setting owner: %w", err)
		}
	}
	if err := sys.Chmod(to.fd, ".", st.Mode&modeBits); err != nil {
		return fmt.Errorf("setting mode: %w", err)
	}
	times := [2]unix.Timespec{st.Atim, st.Mtim}
	if filled {
		times[1].Nsec = unix.UTIME_OMIT
	}
	if err := sys.Utimes(to.fd, ".", &times); err != nil {
		return fmt.Errorf("setting times: %w", err)
	}
	return nil
}

// keepMode restores the mode of d if set has set extended attributes: an ACL
// among them changes it.
func keepMode(sys Setter, d *dir, set func() (bool, error)) error {
	var st unix.Stat_t
	if err := sys.Stat(d.fd, ".", &st); err != nil {
		return err
	}
	changed, err := set()
	if err != nil || !changed {
		return err
	}
	return sys.Chmod(d.fd, ".", st.Mode&modeBits)
}

// copyXattrs gives to the extended attributes of from that it does not have, and
// reports whether there were any. Those that may belong to overlayfs say something
// about the directory below.
func copyXattrs(sys Setter, to *dir, from *lower) (changed bool, err error) {
	keys, err := readXattr(func(buf []byte) (int, error) { return from.sys.Listxattr(from.fd, buf) })
	if err == unix.ENOTSUP {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("listing extended attributes: %w", err)
	}
	for key := range strings.SplitSeq(string(keys), "\x00") {
		if key == "" || strings.HasPrefix(key, trustedXattr) || strings.HasPrefix(key, userXattr) {
			continue
		}
		value, err := readXattr(func(buf []byte) (int, error) { return from.sys.Getxattr(from.fd, key, buf) })
		if err == unix.ENODATA || err == unix.ENOTSUP {
			continue
		}
		if err != nil {
			return changed, fmt.Errorf("reading extended attribute %q: %w", key, err)
		}
		switch err := sys.Setxattr(to.fd, ".", key, string(value), unix.XATTR_CREATE); err {
		case nil:
			changed = true
		case unix.EEXIST, unix.ENOTSUP, unix.ENODATA:
		default:
			return changed, fmt.Errorf("setting extended attribute %q: %w", key, err)
		}
	}
	return changed, nil
}

// readXattr calls get with a buffer that is large enough.
func readXattr(get func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 256)
	n, err := get(buf)
	if err == unix.ERANGE {
		buf = make([]byte, maxXattr)
		n, err = get(buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
