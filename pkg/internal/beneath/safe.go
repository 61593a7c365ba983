package beneath

import (
	"fmt"
	"os"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
)

// overflowID stands, in a user namespace, for all users that have no number there,
// root of the machine among them, whose folders lead to everything else. It is the
// kernel's default.
const overflowID = 65534

// UnsafeError says why another user could change what a path leads to.
type UnsafeError struct {
	Path string // of the file or folder that is to blame
	Why  string
	help string
}

// Error implements error.
func (e *UnsafeError) Error() string { return e.Path + " " + e.Why }

// Hint says what makes the path safe.
func (e *UnsafeError) Hint() string {
	return fmt.Sprintf("if it may be trusted: %s %s", e.help, e.Path)
}

// node is a file or folder that is open for looking only.
type node struct {
	fd   int
	path string
	st   unix.Stat_t
}

// look opens name in the folder at, whatever it is. Links are not followed.
func look(at int, name, full string) (node, error) { return open(at, name, full, lookFlags) }

func open(at int, name, full string, flags int) (node, error) {
	fd, err := unix.Openat(at, name, flags, 0)
	if err != nil {
		return node{}, &os.PathError{Op: "open", Path: full, Err: err}
	}
	n := node{fd: fd, path: full}
	if err := unix.Fstat(fd, &n.st); err != nil {
		unix.Close(fd)
		return node{}, &os.PathError{Op: "stat", Path: full, Err: err}
	}
	return n, nil
}

// owned is nil if root or this user owns n.
func (n *node) owned() error {
	if uid := int(n.st.Uid); Trusted(uid) || uid == overflowID && userns.RunningInUserNS() {
		return nil
	}
	return &UnsafeError{n.path, fmt.Sprintf("belongs to user %d", n.st.Uid), "chown 0"}
}

// Trusted reports whether a user can be relied on as far as this process can: root,
// or its own user. Processes in a user namespace see users by the numbers that these
// have there.
func Trusted(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// keeps is nil if no other user can replace the entry child of the folder n.
func (n *node) keeps(child node) error {
	if err := n.owned(); err != nil {
		return err
	}
	if n.isSticky() {
		return child.owned()
	}
	return n.closed()
}

// safe is nil if no other user can change what root or this user have in the folder
// n. With the sticky bit, as a new tmpfs has it, others can add to it: what is opened in
// it has to be owned too then.
func (n *node) safe() error {
	if err := n.owned(); err != nil || n.isSticky() {
		return err
	}
	return n.closed()
}

func (n *node) isSticky() bool { return n.st.Mode&unix.S_ISVTX != 0 }

// closed is nil if no user but its owner can write n. The group that has the
// number of its owner has no other members, by custom.
func (n *node) closed() error {
	group := n.st.Mode&unix.S_IWGRP != 0 && (n.st.Gid != n.st.Uid || n.hasACL())
	if !group && n.st.Mode&unix.S_IWOTH == 0 {
		return nil
	}
	return &UnsafeError{n.path, fmt.Sprintf("can be written by others (mode %#o)", n.st.Mode&0o7777), "chmod go-w"}
}

// hasACL reports whether n may have a list of users that can write it: the bits of
// the group then stand for all of them.
func (n *node) hasACL() bool {
	_, err := unix.Getxattr(procPath(n.fd), "system.posix_acl_access", nil)
	return err != unix.ENODATA && err != unix.ENOTSUP
}
