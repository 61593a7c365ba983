// Package userfile reads the files of a user that decide something
// (configuration, hosts, certificates, credentials) and writes those that a user
// asks for.
//
// What is read is bounded in bytes and time, and it counts only if no other user
// can have written it: Found is for files that were found by search, Named for
// those that the caller named. What is written is written beside the file and
// renamed, and never through another user's link (write.go). Both follow a path
// folder by folder and link by link, and judge the handles that they read from
// (way.go), so that a name that changes meanwhile changes nothing.
//
// The package knows no format and no place. Start reading at Found, then at
// user.go, which has the owners and modes that count.
package userfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// File is what was read.
type File struct {
	Data []byte
	Mode fs.FileMode // the bits of permission
	UID  int         // the owner
}

// Found reads a file of at most so many bytes that was found by search: in a
// home, in a folder of the system, beside another file. Its error is a *Foreign
// if another user may have written it, and the file is to be left out then. It
// wraps fs.ErrNotExist if there is none.
func Found(path string, most int64) (File, error) {
	return read(path, most, self().judgeFound, false)
}

// Named reads a file of at most so many bytes that the caller named. It may be
// another user's, a pipe or a device; its error is a *Foreign if others can write
// it, or if a link of another user leads root to what is not that user's.
func Named(path string, most int64) (File, error) {
	return read(path, most, self().judgeNamed(), true)
}

// Check returns what Found would say of the owners and modes of a file or folder.
func Check(path string) error { return check(path, self().judgeFound) }

func check(path string, by judge) error {
	w, err := follow(path, by)
	if err != nil {
		return err
	}
	defer w.close()
	if w.absent {
		return notThere(path)
	}
	return of(path, by(w.entry(w.name, w.st)))
}

func notThere(path string) error {
	return &fs.PathError{Op: "open", Path: path, Err: unix.ENOENT}
}

// ErrNoFile is the error for a folder, a socket or a disk in the place of a file,
// and for a pipe or a terminal that was not named.
var ErrNoFile = errors.New("is not a file")

func read(path string, most int64, by judge, named bool) (File, error) {
	w, err := follow(path, by)
	if err != nil {
		return File{}, err
	}
	defer w.close()
	if w.absent {
		return File{}, notThere(path)
	}
	f, err := w.open(named)
	if err != nil {
		return File{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return File{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if err := by(w.entry(w.name, st)); err != nil {
		return File{}, of(path, err)
	}
	data, err := readAll(f, most)
	if err != nil {
		return File{}, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return File{data, fs.FileMode(st.Mode & 0o777), int(st.Uid)}, nil
}

// open opens what the way leads to, which waits for nothing. Only what was named
// may be a pipe or a device.
func (w *way) open(named bool) (*os.File, error) {
	if isKind(w.st, unix.S_IFDIR) {
		return nil, failure.New(unix.EISDIR, "%w", ErrNoFile)
	}
	stream := isKind(w.st, unix.S_IFIFO) || isKind(w.st, unix.S_IFCHR)
	if !isKind(w.st, unix.S_IFREG) && !(named && stream) && !isNull(w.st) {
		return nil, ErrNoFile
	}
	flags := unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	if !w.magic {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(int(w.dir.Fd()), w.name, flags, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), w.name), nil
}

// isNull reports whether an entry is /dev/null, with which users switch a file
// off.
func isNull(st unix.Stat_t) bool {
	return isKind(st, unix.S_IFCHR) && st.Rdev == unix.Mkdev(1, 3)
}

const (
	// writerTime is how long a pipe may be without anything written to it, and
	// streamTime how long reading it may take.
	writerTime = 10 * time.Second
	streamTime = 30 * time.Second
)

func readAll(f *os.File, most int64) ([]byte, error) {
	if err := waitForBytes(f); err != nil {
		return nil, err
	}
	_ = f.SetReadDeadline(time.Now().Add(streamTime)) // ordinary files know none and need none
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("has more than %d bytes", most)
	}
	return data, err
}

// waitForBytes waits until there is something to read, or the end. A pipe that no
// program has opened yet would look like one that has ended.
func waitForBytes(f *os.File) error {
	for until := time.Now().Add(writerTime); ; {
		left := max(time.Until(until), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, int(left.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("nothing was written to it within %s", writerTime)
		default:
			return nil
		}
	}
}
