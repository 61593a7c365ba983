package erofs

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const maxName = 255

// open returns a handle of i.
func (m *Image) open(i *inode) int {
	if n := len(m.free); n > 0 {
		fd := m.free[n-1]
		m.free = m.free[:n-1]
		m.handles[fd] = i
		return fd
	}
	m.handles = append(m.handles, i)
	return len(m.handles) - 1
}

// find returns what the name is, and without one what the handle is.
func (m *Image) find(fd int, name string) (*inode, error) {
	at := m.handles[fd]
	if name == "" || name == "." {
		return at, nil
	}
	if err := checkName(at, name); err != nil {
		return nil, err
	}
	i := at.folder.names[name]
	if i == nil {
		return nil, unix.ENOENT
	}
	return i, nil
}

// checkName returns the error that Linux has for any call with such a name in at.
func checkName(at *inode, name string) error {
	switch {
	case !at.isDir():
		return unix.ENOTDIR
	case len(name) > maxName:
		return unix.ENAMETOOLONG
	case strings.Contains(name, "\x00"):
		return unix.EINVAL
	}
	return nil
}

// Root implements layer.Reader.
func (m *Image) Root() (int, error) { return 0, nil }

// OpenDir implements layer.Reader.
func (m *Image) OpenDir(dir int, name string) (int, error) {
	i, err := m.find(dir, name)
	if err != nil {
		return -1, err
	}
	if !i.isDir() {
		return -1, unix.ENOTDIR
	}
	return m.open(i), nil
}

// Peek implements layer.Reader.
func (m *Image) Peek(dir int, name string) (int, error) {
	i, err := m.find(dir, name)
	if err != nil {
		return -1, err
	}
	return m.open(i), nil
}

// Readlink implements layer.Reader.
func (m *Image) Readlink(fd int) (string, error) {
	i := m.handles[fd]
	if i.kind() != unix.S_IFLNK {
		return "", nil
	}
	return i.inline, nil
}

// Stat implements layer.Reader.
func (m *Image) Stat(dir int, name string, st *unix.Stat_t) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	*st = unix.Stat_t{Mode: i.mode, Uid: i.uid, Gid: i.gid, Size: i.size, Atim: i.mtime, Mtim: i.mtime, Ctim: i.mtime}
	return nil
}

// Close implements layer.Reader.
func (m *Image) Close(fd int) error {
	if fd == 0 {
		return nil
	}
	i := m.handles[fd]
	m.handles[fd] = nil
	m.free = append(m.free, fd)
	if i != m.writing {
		return nil
	}
	m.writing = nil
	return m.pad()
}

// add makes i what the name in a directory is, with the owner and the ACL that Linux
// gives it there. cost is what i takes in memory.
func (m *Image) add(dir int, name string, i *inode, cost int) error {
	at := m.handles[dir]
	if err := checkName(at, name); err != nil {
		return err
	}
	if name == "." || at.folder.names[name] != nil {
		return unix.EEXIST
	}
	i.mtime, i.nlink = m.now, 1
	if i.isDir() {
		i.folder.parent = at
	}
	if at.mode&unix.S_ISGID != 0 {
		i.gid = at.gid
		if i.isDir() {
			i.mode |= unix.S_ISGID
		}
	}
	if err := m.inheritACL(at, i); err != nil {
		return err
	}
	return m.name(at, name, i, cost)
}

// name makes i what the name in the directory at is, which is none so far. cost is
// what i takes.
func (m *Image) name(at *inode, name string, i *inode, cost int) error {
	at.folder.names[strings.Clone(name)] = i // without the path that it is a part of
	at.mtime = m.now
	return m.hold(nameCost + len(name) + cost)
}

// Mkdir implements layer.System.
func (m *Image) Mkdir(dir int, name string, mode uint32) error {
	i := &inode{mode: unix.S_IFDIR | mode, folder: &folder{names: map[string]*inode{}}}
	return m.add(dir, name, i, inodeCost+folderCost)
}

// Create implements layer.System.
func (m *Image) Create(dir int, name string, mode uint32) (int, error) {
	i := &inode{mode: unix.S_IFREG | mode}
	if err := m.add(dir, name, i, inodeCost); err != nil {
		return -1, err
	}
	m.writing = i
	return m.open(i), nil
}

// Write implements layer.System. Content is kept for beside the inode if it is small
// and comes at once.
func (m *Image) Write(fd int, p []byte) error {
	i := m.handles[fd]
	if i.size == 0 && len(p) <= inlineMax && m.holdInline(len(p)) {
		i.inline, i.size = string(p), int64(len(p))
		return nil
	}
	if i.inline != "" || i.size == 0 {
		i.block = m.block()
		if err := m.put([]byte(i.inline)); err != nil {
			return err
		}
		m.releaseInline(i)
		i.inline = ""
	}
	i.size += int64(len(p))
	return m.put(p)
}

// Symlink implements layer.System.
func (m *Image) Symlink(target string, dir int, name string) error {
	switch {
	case target == "":
		return unix.ENOENT
	case len(target) >= unix.PathMax:
		return unix.ENAMETOOLONG
	case strings.Contains(target, "\x00"):
		return unix.EINVAL
	}
	i := &inode{mode: unix.S_IFLNK | 0o777, inline: strings.Clone(target), size: int64(len(target))}
	return m.add(dir, name, i, inodeCost+len(target))
}

// Mknod implements layer.System.
func (m *Image) Mknod(dir int, name string, mode uint32, number uint64) error {
	i := &inode{mode: mode}
	if i.kind() != unix.S_IFIFO {
		i.device = device(number)
	}
	return m.add(dir, name, i, inodeCost)
}

// Link implements layer.System.
func (m *Image) Link(dir int, name string, into int, as string) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	to := m.handles[into]
	if err := checkName(to, as); err != nil {
		return err
	}
	switch {
	case to.folder.names[as] != nil:
		return unix.EEXIST
	case i.isDir():
		return unix.EPERM
	}
	i.nlink++
	return m.name(to, as, i, 0)
}

// Unlink implements layer.System.
func (m *Image) Unlink(dir int, name string) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	m.remove(m.handles[dir], name, i)
	return nil
}

// RemoveAll implements layer.System.
func (m *Image) RemoveAll(dir int, name string) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	m.remove(m.handles[dir], name, i)
	return nil
}

// remove takes a name away with everything below it, and lets go of what has none
// any more.
func (m *Image) remove(at *inode, name string, i *inode) {
	delete(at.folder.names, name)
	at.mtime = m.now
	m.release(nameCost + len(name))
	if i.nlink--; i.nlink > 0 {
		return
	}
	m.release(inodeCost + attrCost*len(i.attrs))
	switch {
	case i.isDir():
		m.release(folderCost)
		for name, below := range i.folder.names {
			m.remove(i, name, below)
		}
	case i.kind() == unix.S_IFLNK:
		m.release(len(i.inline))
	default:
		m.releaseInline(i)
	}
}

// Names implements layer.System.
func (m *Image) Names(dir int) ([]string, error) {
	i := m.handles[dir]
	if !i.isDir() {
		return nil, unix.ENOTDIR
	}
	return slices.Sorted(maps.Keys(i.folder.names)), nil
}

// Chown implements layer.Setter.
func (m *Image) Chown(dir int, name string, uid, gid int) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	const unchanged = ^uint32(0)
	if uint32(uid) != unchanged {
		i.uid = uint32(uid)
	}
	if uint32(gid) != unchanged {
		i.gid = uint32(gid)
	}
	if i.isDir() {
		return nil
	}
	i.mode &^= unix.S_ISUID
	if i.mode&unix.S_IXGRP != 0 {
		i.mode &^= unix.S_ISGID
	}
	m.unset(i, capability)
	return nil
}

// Chmod implements layer.Setter.
func (m *Image) Chmod(dir int, name string, mode uint32) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	i.mode = i.kind() | mode&modeBits
	return m.chmodACL(i)
}

// Utimes implements layer.Setter. The time of access has no place in an image.
func (m *Image) Utimes(dir int, name string, times *[2]unix.Timespec) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	if times[1].Nsec != unix.UTIME_OMIT {
		i.mtime = times[1]
	}
	return nil
}
