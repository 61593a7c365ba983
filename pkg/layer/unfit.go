package layer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// ErrUnfit is the class of what a layer has and the file system, or the user
// namespace, cannot hold, however much room there is. Such an error has a hint.
var ErrUnfit = errors.New("the file system cannot hold it")

// Probe returns an ErrUnfit if the upper directory dir takes no whiteouts. It
// leaves nothing in dir.
func Probe(dir *os.File) error {
	const name = ".containerd-pull-probe"
	fd := int(dir.Fd())
	err := unix.Mknodat(fd, name, unix.S_IFCHR, 0)
	if err != nil {
		return noWhiteout(err)
	}
	return unix.Unlinkat(fd, name, 0)
}

// noWhiteout explains why a whiteout could not be made.
func noWhiteout(err error) error {
	if err != unix.EPERM {
		return err
	}
	return failure.New(ErrUnfit, "the file system of the snapshots takes no whiteouts of overlayfs, perhaps because it is an overlay itself").
		WithHint("move containerd's root to a file system that is no overlay, in a container to a volume, or use --snapshotter native")
}

// noOwner explains why an owner could not be set.
func noOwner(err error, uid, gid int) error {
	if err != unix.EINVAL {
		return err
	}
	return failure.New(ErrUnfit, "owner %d:%d does not exist in this user namespace", uid, gid).WithHint(MoreIDs)
}

// MoreIDs is what to do about owners that do not exist.
const MoreIDs = "give the user more IDs in /etc/subuid and /etc/subgid, of which 65536 are usual, or pull as root"

// maxXattr is the greatest size that a list of attributes or a value has on Linux.
const maxXattr = 64 << 10

// roomLeft is so much that a file system with it is not full.
const roomLeft = 1 << 20

// noXattr explains why an attribute of size bytes could not be set on what has the
// handle fd, or is in the directory that has it. Linux says
// that there is no space left both of a full file system and of a file whose
// attributes take all that a file may have of them.
func noXattr(fd, size int, err error) error {
	if err != unix.ENOSPC && err != unix.E2BIG || size > maxXattr {
		return err
	}
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil || st.Bavail*uint64(st.Bsize) < roomLeft {
		return err
	}
	return failure.New(ErrUnfit, "it has %d bytes, and the file system takes no more of them in one file", size).
		WithHint("move containerd's root to a file system that takes larger attributes: XFS, Btrfs, or ext4 made with -O ea_inode")
}
