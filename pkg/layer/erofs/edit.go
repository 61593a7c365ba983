package erofs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// Editor changes attributes in an image that this package made and that is complete. It
// implements layer.Setter, for layer.Inherit: what takes no room is written over what is
// there. There is none for more extended attributes; for those the error is
// layer.ErrOrder.
type Editor struct {
	*Reader
	file *os.File
}

// Edit opens the image in file, which is open for reading and writing and stays so.
func Edit(file *os.File) (*Editor, error) {
	r, err := Open(file)
	if err != nil {
		return nil, err
	}
	return &Editor{r, file}, nil
}

// change writes what set makes of the attributes of an inode.
func (e *Editor) change(dir int, name string, set func(*unix.Stat_t)) error {
	n, err := e.find(dir, name)
	if err != nil {
		return err
	}
	set(&n.stat)
	order, at := binary.LittleEndian, e.inodes+int64(n.stat.Ino)*slot
	b := make([]byte, inodeSize)
	if err := e.read(b, at); err != nil {
		return err
	}
	if order.Uint16(b)&extended == 0 {
		return unix.EROFS
	}
	order.PutUint16(b[4:], uint16(n.stat.Mode))
	order.PutUint32(b[24:], n.stat.Uid)
	order.PutUint32(b[28:], n.stat.Gid)
	order.PutUint64(b[32:], uint64(n.stat.Mtim.Sec))
	order.PutUint32(b[40:], uint32(n.stat.Mtim.Nsec))
	if _, err := e.file.WriteAt(b, at); err != nil {
		return fmt.Errorf("writing the EROFS image: %w", err)
	}
	return nil
}

// Chown implements layer.Setter, for directories.
func (e *Editor) Chown(dir int, name string, uid, gid int) error {
	const unchanged = ^uint32(0)
	return e.change(dir, name, func(st *unix.Stat_t) {
		if uint32(uid) != unchanged {
			st.Uid = uint32(uid)
		}
		if uint32(gid) != unchanged {
			st.Gid = uint32(gid)
		}
	})
}

// Chmod implements layer.Setter. The ACL of a directory would change with its mode.
func (e *Editor) Chmod(dir int, name string, mode uint32) error {
	if has, err := e.has(dir, name, accessACL); has || err != nil {
		return cmp.Or(err, layer.ErrOrder)
	}
	return e.change(dir, name, func(st *unix.Stat_t) { st.Mode = st.Mode&unix.S_IFMT | mode&modeBits })
}

// Utimes implements layer.Setter. The time of access has no place in an image.
func (e *Editor) Utimes(dir int, name string, times *[2]unix.Timespec) error {
	return e.change(dir, name, func(st *unix.Stat_t) {
		if times[1].Nsec != unix.UTIME_OMIT {
			st.Mtim = times[1]
		}
	})
}

// Setxattr implements layer.Setter.
func (e *Editor) Setxattr(dir int, name, key, _ string, flags int) error {
	has, err := e.has(dir, name, key)
	if err == nil && has && flags&unix.XATTR_CREATE != 0 {
		err = unix.EEXIST
	}
	return cmp.Or(err, layer.ErrOrder)
}

// has reports whether an inode has an attribute.
func (e *Editor) has(dir int, name, key string) (bool, error) {
	n, err := e.find(dir, name)
	if err != nil {
		return false, err
	}
	attrs, err := e.attrsOf(n)
	return slices.ContainsFunc(attrs, func(a attr) bool { return a.key == key }), err
}
