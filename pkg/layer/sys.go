package layer

import (
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reader is what of Linux's calls it takes to read a tree. A handle is a plain
// descriptor or a number like one; 0 or more. A name is a single one in an open
// directory, and a link at it is not followed; "." is the directory itself. Errors are
// a unix.Errno, that which Linux has for the case, or such as no retry and no other
// name mends.
type Reader interface {
	// Root opens the root of the tree.
	Root() (fd int, err error)
	// OpenDir opens a directory. Anything else, links included, is ENOTDIR.
	OpenDir(dir int, name string) (fd int, err error)
	// Peek opens whatever there is, only to be looked at.
	Peek(dir int, name string) (fd int, err error)
	// Readlink returns the target of a handle of Peek, "" if it is no link.
	Readlink(fd int) (string, error)
	// Stat fills st; without a name it is about an open file.
	Stat(dir int, name string, st *unix.Stat_t) error
	// Listxattr reads the names of the attributes of a directory, each with a 0
	// behind it. A buffer that is too small is ERANGE, none asks for the size.
	Listxattr(dir int, buf []byte) (int, error)
	// Getxattr reads a value of a directory. For buf see Listxattr.
	Getxattr(dir int, key string, buf []byte) (int, error)
	// Close closes a handle of any kind.
	Close(fd int) error
}

// Setter is what of Linux's calls it takes to change attributes. Without a name they are
// those of an open file.
type Setter interface {
	Reader
	// Chown leaves an ID of -1 as it is.
	Chown(dir int, name string, uid, gid int) error
	// Chmod must not be called for a link.
	Chmod(dir int, name string, mode uint32) error
	// Setxattr takes the flags of the call.
	Setxattr(dir int, name, key, value string, flags int) error
	// Utimes sets the times of access and of modification.
	Utimes(dir int, name string, times *[2]unix.Timespec) error
}

// System is what of Linux's calls it takes to make a tree.
type System interface {
	Setter
	// Mkdir makes an empty directory.
	Mkdir(dir int, name string, mode uint32) error
	// Create makes an empty file and opens it for Write.
	Create(dir int, name string, mode uint32) (fd int, err error)
	// Write writes all of p.
	Write(fd int, p []byte) error
	// Symlink makes a link to target, which is not looked at.
	Symlink(target string, dir int, name string) error
	// Mknod makes what mode says: a device, a FIFO or a socket.
	Mknod(dir int, name string, mode uint32, device uint64) error
	// Link makes one more name, of what is no directory.
	Link(dir int, name string, into int, as string) error
	// Unlink removes what is no directory.
	Unlink(dir int, name string) error
	// RemoveAll removes a directory with everything below it.
	RemoveAll(dir int, name string) error
	// Names lists a directory.
	Names(dir int) ([]string, error)
}

// kernel is the System of a folder: the calls themselves. They are made on plain
// descriptors: package os registers its own with the runtime's poller, which costs
// four more calls per file and is useless for regular files.
type kernel struct {
	folder *os.File
	walks  bool // even if the kernel has openat2
}

// Folder is the tree in a folder, which is open and stays so. It needs /proc.
func Folder(dir *os.File) System { return kernel{folder: dir} }

// Folders are the trees in folders.
func Folders(dirs []*os.File) []Reader {
	all := make([]Reader, len(dirs))
	for i, dir := range dirs {
		all[i] = Folder(dir)
	}
	return all
}

// hasOpenat2 reports whether openat2 can be called. Kernels before 5.6 do not know
// it, and filters made for them forbid it.
func (k kernel) hasOpenat2(root int) bool {
	if k.walks {
		return false
	}
	fd, err := openat2(root, ".", resolveDir, pathFlags)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// Root implements Reader.
func (k kernel) Root() (int, error) {
	fd, err := unix.Openat(int(k.folder.Fd()), ".", pathFlags, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the layer's root %q: %w", k.folder.Name(), err)
	}
	return fd, nil
}

// OpenDir implements Reader.
func (k kernel) OpenDir(dir int, name string) (int, error) {
	return unix.Openat(dir, name, dirFlags, 0)
}

// Peek implements Reader.
func (k kernel) Peek(dir int, name string) (int, error) {
	return unix.Openat(dir, name, linkFlags, 0)
}

// Readlink implements Reader.
func (k kernel) Readlink(fd int) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	if err == unix.ENOENT || err == unix.EINVAL { // no link
		return "", nil
	}
	return string(buf[:max(n, 0)]), err
}

// Stat implements Reader.
func (k kernel) Stat(dir int, name string, st *unix.Stat_t) error {
	if name == "" {
		return unix.Fstat(dir, st)
	}
	return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// Listxattr implements Reader.
func (k kernel) Listxattr(dir int, buf []byte) (int, error) {
	return unix.Listxattr(procPath(dir), buf)
}

// Getxattr implements Reader.
func (k kernel) Getxattr(dir int, key string, buf []byte) (int, error) {
	return unix.Getxattr(procPath(dir), key, buf)
}

// Close implements Reader.
func (k kernel) Close(fd int) error { return unix.Close(fd) }

// Mkdir implements System.
func (k kernel) Mkdir(dir int, name string, mode uint32) error {
	return unix.Mkdirat(dir, name, mode)
}

// Create implements System.
func (k kernel) Create(dir int, name string, mode uint32) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	for {
		fd, err := unix.Openat(dir, name, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Write implements System.
func (k kernel) Write(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Symlink implements System.
func (k kernel) Symlink(target string, dir int, name string) error {
	return unix.Symlinkat(target, dir, name)
}

// Mknod implements System.
func (k kernel) Mknod(dir int, name string, mode uint32, device uint64) error {
	return unix.Mknodat(dir, name, mode, int(device))
}

// Link implements System.
func (k kernel) Link(dir int, name string, into int, as string) error {
	return unix.Linkat(dir, name, into, as, 0)
}

// Unlink implements System.
func (k kernel) Unlink(dir int, name string) error { return unix.Unlinkat(dir, name, 0) }

// RemoveAll implements System.
func (k kernel) RemoveAll(dir int, name string) error { return os.RemoveAll(pathAt(dir, name)) }

// Names implements System.
func (k kernel) Names(dir int) (names []string, err error) {
	entries, err := os.ReadDir(procPath(dir))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Chown implements Setter.
func (k kernel) Chown(dir int, name string, uid, gid int) error {
	if name == "" {
		return unix.Fchown(dir, uid, gid)
	}
	return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// Chmod implements Setter. Linux before 6.6 has no fchmodat that does not follow
// a link, so the name is pinned by a handle first.
func (k kernel) Chmod(dir int, name string, mode uint32) error {
	if name == "" {
		return unix.Fchmod(dir, mode)
	}
	fd, err := k.Peek(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(procPath(fd), mode)
}

// Setxattr implements Setter.
func (k kernel) Setxattr(dir int, name, key, value string, flags int) error {
	if name == "" {
		return noXattr(dir, len(value), unix.Fsetxattr(dir, key, []byte(value), flags))
	}
	return noXattr(dir, len(value), unix.Lsetxattr(pathAt(dir, name), key, []byte(value), flags))
}

// Utimes implements Setter.
func (k kernel) Utimes(dir int, name string, times *[2]unix.Timespec) error {
	if name == "" {
		return futimens(dir, times)
	}
	return unix.UtimesNanoAt(dir, name, times[:], unix.AT_SYMLINK_NOFOLLOW)
}

// procPath returns a name of a handle for calls that take neither an O_PATH handle
// nor a handle and a name.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func pathAt(dir int, name string) string { return procPath(dir) + "/" + name }

// openat2 repeats the call when a signal or a concurrent rename got in its way.
func openat2(dirfd int, path string, resolve, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags, Resolve: resolve}
	for {
		fd, err := unix.Openat2(dirfd, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// futimens sets the times of an open file. x/sys would go through /proc.
func futimens(fd int, times *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
