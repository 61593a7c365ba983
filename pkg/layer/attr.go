package layer

import (
	"archive/tar"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	permBits  = 0o777
	modeBits  = 0o7777
	xattrName = "SCHILY.xattr."
	// unchanged is the ID for which chown leaves the owner as it is.
	unchanged = math.MaxUint32
)

// node is what attributes are set on: a name in a directory, which is never followed
// if it is a link, or without a name an open file.
type node struct {
	sys  System
	dir  *dir
	base string // in that directory
	fd   int    // of the directory, or of the file
	name string // base, or none
}

func (n node) stat(st *unix.Stat_t) error { return n.sys.Stat(n.fd, n.name, st) }

// node is what name is in d.
func (a *applier) node(d *dir, name string) node {
	return node{sys: a.sys, dir: d, base: name, fd: d.fd, name: name}
}

// dress gives n the attributes of hdr, in the only order that works: chown
// clears set-user-ID and capabilities, an ACL changes the mode, and everything
// changes the times. What is right already is not set again, except the owner of
// a file that is shared with another name, since chown has side effects.
func (a *applier) dress(n node, hdr *tar.Header, shared bool) error {
	st := &a.st
	if err := n.stat(st); err != nil {
		return fmt.Errorf("reading attributes: %w", err)
	}
	chown := shared || other(st.Uid, hdr.Uid) || other(st.Gid, hdr.Gid)
	if chown {
		if err := n.sys.Chown(n.fd, n.name, hdr.Uid, hdr.Gid); err != nil {
			return fmt.Errorf("setting owner %d:%d: %w", hdr.Uid, hdr.Gid, noOwner(err, hdr.Uid, hdr.Gid))
		}
	}
	changed, err := a.setXattrs(n, hdr, st.Mode)
	if err != nil {
		return err
	}
	mode := uint32(hdr.Mode) & modeBits
	wrong := mode != st.Mode&modeBits || changed || chown && mode&^permBits != 0
	if wrong && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := n.sys.Chmod(n.fd, n.name, mode); err != nil {
			return fmt.Errorf("setting mode %#o: %w", mode, err)
		}
	}
	a.times = timesOf(hdr)
	if err := n.sys.Utimes(n.fd, n.name, &a.times); err != nil {
		return fmt.Errorf("setting times: %w", err)
	}
	return a.count(n, st, changed, shared)
}

// count adds a new file to the usage. st was read before extended attributes
// changed, which may take a block. A file that is shared with another name was
// counted under that name; chown may have removed attributes.
func (a *applier) count(n node, st *unix.Stat_t, changed, shared bool) error {
	if !a.usage.known || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	before := st.Blocks
	if changed || shared {
		if err := n.stat(st); err != nil {
			return fmt.Errorf("counting blocks: %w", err)
		}
	}
	switch {
	case !shared:
		a.usage.add(n, st)
	case st.Blocks != before:
		a.usage.lose()
	}
	return nil
}

// other reports whether chown would change has. The kernel cuts IDs to 32 bits.
func other(has uint32, want int) bool {
	return uint32(want) != unchanged && uint32(want) != has
}

// setXattrs reports whether it set any.
func (a *applier) setXattrs(n node, hdr *tar.Header, mode uint32) (changed bool, err error) {
	for _, key := range xattrKeys(hdr) {
		err := a.setXattr(n, key, hdr.PAXRecords[xattrName+key])
		switch {
		case err == nil:
			changed = true
		case ignorable(err, key, mode):
			a.warnings.add(key, fmt.Sprintf("ignoring extended attribute %s, first met at %s: %v", quoted(key), quoted(hdr.Name), err))
		default:
			return changed, fmt.Errorf("setting extended attribute %s: %w", quoted(key), err)
		}
	}
	return changed, nil
}

// xattrKeys returns the names of the attributes of hdr in order, so that the
// outcome is the same each time.
func xattrKeys(hdr *tar.Header) (keys []string) {
	for record := range hdr.PAXRecords {
		if key, ok := strings.CutPrefix(record, xattrName); ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// setXattr sets no attributes that could make overlayfs show what is not in the
// layer.
func (a *applier) setXattr(n node, key, value string) error {
	own := strings.HasPrefix(key, userXattr)
	a.marked = a.marked || own
	if strings.HasPrefix(key, trustedXattr) || own && a.opts.UserXattr {
		return unix.ENOTSUP
	}
	return n.sys.Setxattr(n.fd, n.name, key, value, 0)
}

// ignorable reports whether err only means that the file system has no place for
// the attribute; user.* exist on files and directories only.
func ignorable(err error, key string, mode uint32) bool {
	if err == unix.ENOTSUP {
		return true
	}
	kind := mode & unix.S_IFMT
	return err == unix.EPERM && strings.HasPrefix(key, "user.") && kind != unix.S_IFREG && kind != unix.S_IFDIR
}

// timesOf returns the time of access, which is not before the modification, and
// the time of modification.
func timesOf(hdr *tar.Header) [2]unix.Timespec {
	atime := hdr.AccessTime
	if atime.Before(hdr.ModTime) {
		atime = hdr.ModTime
	}
	return [2]unix.Timespec{timespec(atime), timespec(hdr.ModTime)}
}

// timespec converts t. A time that nanoseconds since 1970 cannot express becomes
// the epoch.
func timespec(t time.Time) unix.Timespec {
	if t.Before(time.Unix(0, 0)) || t.After(time.Unix(0, math.MaxInt64)) {
		return unix.Timespec{}
	}
	return unix.NsecToTimespec(t.UnixNano())
}
