package layer

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

const (
	statBlock = 512 // bytes that st_blocks counts by
	// mapped is how many blocks of a file every layout of ext4 maps within the
	// inode, without blocks for the map.
	mapped = 4
)

// Usage is what Apply left in its root, counted on the way. The zero value stands
// for an unknown usage.
type Usage struct {
	known  bool
	inodes int64
	blocks int64 // of the inodes that are not in later
	// later are the inodes that may still get blocks.
	later []place
	// settled is the largest st_blocks of a file that is final.
	// ext4 maps a file when it writes it back, and a map that does not fit into
	// the inode takes blocks of its own.
	settled int64
}

// place is a name in a directory by its path, which is free of links.
type place struct{ dir, name string }

// newUsage counts the root. Only an empty one can be counted, and only on file
// systems where a file has its blocks, or a claim to them, once it is written.
// Others give it more than it keeps (XFS) or choose later (Btrfs, ZFS).
func newUsage(root *dir) Usage {
	var st unix.Statfs_t
	if err := unix.Fstatfs(root.fd, &st); err != nil {
		return Usage{}
	}
	u := Usage{known: true}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC: // of ext2 and ext3 too
		u.settled = mapped * st.Bsize / statBlock
	case unix.TMPFS_MAGIC:
		u.settled = math.MaxInt64
	default:
		return Usage{}
	}
	if there, err := os.ReadDir(procPath(root.fd)); err != nil || len(there) > 0 {
		return Usage{}
	}
	u.postpone(root, ".")
	return u
}

// add counts a complete file that is no directory.
func (u *Usage) add(n node, st *unix.Stat_t) {
	if st.Blocks > u.settled {
		u.postpone(n.dir, n.base)
		return
	}
	u.inodes++
	u.blocks += st.Blocks
}

// postpone counts an inode that may still get blocks.
func (u *Usage) postpone(d *dir, name string) {
	if u.known {
		u.inodes++
		u.later = append(u.later, place{d.path, name})
	}
}

// lose makes the usage unknown: something that may have been counted does not exist
// any more.
func (u *Usage) lose() { *u = Usage{} }

// Measure returns the inodes and bytes that containerd's fs.DiskUsage would
// find in root, that of Apply, after Inherit. It looks only at directories and
// at files of more than a few blocks. ok is false if the usage is unknown and
// takes fs.DiskUsage, always if Apply removed something.
func (u Usage) Measure(root *os.File) (inodes, bytes int64, ok bool) {
	if !u.known {
		return 0, 0, false
	}
	blocks := u.blocks
	for _, p := range u.later {
		var st unix.Stat_t
		d := dir{path: p.dir}
		if err := unix.Fstatat(int(root.Fd()), d.join(p.name), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return 0, 0, false
		}
		blocks += st.Blocks
	}
	return u.inodes, blocks * statBlock, true
}
