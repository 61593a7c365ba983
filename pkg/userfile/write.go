package userfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Write writes a file as a whole or not at all, into a folder that exists: beside
// the file, and then it renames. The mode is that of a new file; one that is
// replaced gets no bit that it did not have.
//
// A link stays one: what it leads to is replaced, unless it is another user's
// link, which is a *ForeignLink. A device, a pipe, an open descriptor, such as
// /dev/stdout, and a file that is mounted, as into a container, cannot be replaced
// and are written to. The error is a *fs.PathError.
func Write(path string, data []byte, mode fs.FileMode) error {
	return toWrite(path, func(w *way) error {
		if w.isReplaced() {
			return w.replace(data, mode)
		}
		return w.writeOpen(data)
	})
}

// CheckWrite returns what would prevent Write from writing a file, as far as that
// can be told without writing.
func CheckWrite(path string) error {
	return toWrite(path, func(w *way) error {
		switch {
		case w.isReplaced():
			return unix.Faccessat(int(w.dir.Fd()), ".", unix.W_OK, 0)
		case isKind(w.st, unix.S_IFDIR):
			return unix.EISDIR
		case isKind(w.st, unix.S_IFREG) && !w.magic:
			return unix.Faccessat(int(w.dir.Fd()), w.name, unix.W_OK, 0)
		}
		return nil
	})
}

// toWrite follows the path of a file that is to be written.
func toWrite(path string, act func(*way) error) error {
	w, err := follow(path, self().judgeLink)
	if err == nil {
		defer w.close()
		err = act(w)
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: reason(err)}
	}
	return nil
}

// isReplaced reports whether there is, or may be made, a file with a name.
func (w *way) isReplaced() bool {
	return w.absent || isKind(w.st, unix.S_IFREG) && !w.magic && !w.isMounted()
}

// isMounted reports whether the last entry is a mount of its own, over which nothing
// can be renamed. A kernel before 5.8 does not know.
func (w *way) isMounted() bool {
	var st unix.Statx_t
	err := unix.Statx(int(w.dir.Fd()), w.name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// MakeFolder makes the folder of a file that is to be written, where that is the
// caller's intention. It follows links as Write does.
func MakeFolder(path string) error {
	w, err := (&way{makes: true}).follow(filepath.Dir(path), self().judgeLink)
	if err == nil {
		defer w.close()
		if !isKind(w.st, unix.S_IFDIR) {
			err = unix.ENOTDIR
		}
	}
	if err != nil {
		return fmt.Errorf("making the folder of %s: %w", path, reason(err))
	}
	return nil
}

// reason takes the path out of an error, for messages that name the file.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// ForeignLink is the error for a link of another user on the way to a file that is
// to be written.
type ForeignLink struct {
	Link string
	UID  int
}

func (e *ForeignLink) Error() string {
	return fmt.Sprintf("%s is a link of uid %d", e.Link, e.UID)
}

// Hint says what to do about it.
func (e *ForeignLink) Hint() string { return "name the file that it leads to" }

// judgeLink refuses links of other users, which could lead into any file of this
// one's. An ordinary user may also follow those of the owner of a folder in it.
func (u user) judgeLink(e entry) error {
	if !isKind(e.st, unix.S_IFLNK) || u.trusts(e) {
		return nil
	}
	var in unix.Stat_t
	if err := unix.Fstat(int(e.dir.Fd()), &in); err != nil {
		return err
	}
	if !u.strict && in.Uid == e.st.Uid && in.Mode&0o002 == 0 {
		return nil
	}
	return &ForeignLink{e.path, int(e.st.Uid)}
}

// replace writes a new file beside the last entry and renames it over that.
func (w *way) replace(data []byte, mode fs.FileMode) error {
	if !w.absent {
		mode &= fs.FileMode(w.st.Mode & 0o777)
	}
	dir := int(w.dir.Fd())
	f, name, err := w.createBeside()
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = unix.Renameat(dir, name, dir, w.name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(dir, name, 0))
	}
	return nil
}

// createBeside creates a hidden file with a name of its own.
func (w *way) createBeside() (*os.File, string, error) {
	for {
		name := fmt.Sprintf(".%s.%s", w.name[:min(len(w.name), 200)], rand.Text())
		fd, err := unix.Openat(int(w.dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		return os.NewFile(uintptr(fd), filepath.Join(w.path, name)), name, nil
	}
}

// writeOpen writes to what cannot be replaced.
func (w *way) writeOpen(data []byte) error {
	if isKind(w.st, unix.S_IFDIR) {
		return unix.EISDIR
	}
	f, err := w.openToWrite()
	if err != nil {
		return err
	}
	if err = w.same(f); err == nil && isKind(w.st, unix.S_IFREG) && !w.magic {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	return errors.Join(err, f.Close())
}

// same is an error unless f is what the way led to: another user may have put a file
// into the place of a pipe.
func (w *way) same(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Dev != w.st.Dev || st.Ino != w.st.Ino {
		return unix.ESTALE
	}
	return nil
}

// openToWrite opens what is not replaced. A descriptor of this process is
// duplicated, so that what is written follows what was written to it.
func (w *way) openToWrite() (*os.File, error) {
	if n, ok := w.descriptor(); ok {
		fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), w.name), nil
	}
	flags := unix.O_WRONLY | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	if !w.magic {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(int(w.dir.Fd()), w.name, flags, 0)
	end, again := time.After(streamTime), time.NewTicker(readerPoll)
	defer again.Stop()
	for errors.Is(err, unix.ENXIO) && isKind(w.st, unix.S_IFIFO) { // no program reads from the pipe yet
		select {
		case <-end:
			return nil, err
		case <-again.C:
			fd, err = unix.Openat(int(w.dir.Fd()), w.name, flags, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), w.name), nil
}

const readerPoll = 20 * time.Millisecond

// descriptor is the number of an open file of this process.
func (w *way) descriptor() (int, bool) {
	n, err := strconv.Atoi(w.name)
	own := w.path == "/proc/self/fd" || w.path == "/proc/thread-self/fd" || w.path == fmt.Sprintf("/proc/%d/fd", os.Getpid())
	return n, w.magic && own && err == nil
}
