package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// WithErrno returns err with the error number of the kernel that made a daemon
// fail, so that errors.Is finds ENOSPC, EDQUOT, EROFS or EIO as it does in an
// embedded root. A daemon passes such an error on as text of the class unknown or
// internal; only such text of err is read, and in it only what stands between two
// colons, as Go joins errors.
func WithErrno(err error) error { return WithErrnoOf(err, daemonTexts(err)...) }

// WithCause returns err with the reason why ctx has ended, if it has: a daemon
// only knows that the call was cancelled.
func WithCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// WithErrnoOf returns err with the error number that one of texts names between two
// colons.
func WithErrnoOf(err error, texts ...string) error {
	for _, said := range texts {
		for _, part := range strings.FieldsFunc(said, func(r rune) bool { return r == ':' || r == '\n' }) {
			if errno, ok := storageErrno(strings.TrimSpace(part)); ok {
				return &errnoError{err, errno}
			}
		}
	}
	return err
}

// storageErrno knows the texts of the errors that IsStorage finds.
func storageErrno(text string) (unix.Errno, bool) {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if text == errno.Error() {
			return errno, true
		}
	}
	return 0, false
}

// IsStorage reports whether a file system is the cause of err: it is full,
// cannot be written or fails.
func IsStorage(err error) bool { return IsUnwritable(err) || errors.Is(err, unix.EIO) }

// IsUnwritable reports whether err says that nothing more can be written. An
// I/O error does not say that; it may be that of a single file.
func IsUnwritable(err error) bool { return IsFull(err) || errors.Is(err, unix.EROFS) }

// IsFull reports whether err says that a file system has no room left, or a quota.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// daemonTexts finds the messages that came without a class of their own, which
// the client then calls unknown or internal: at the ends of the tree of err,
// either as one error or as a text around the class.
func daemonTexts(err error) []string {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		if inner != errdefs.ErrUnknown && inner != errdefs.ErrInternal {
			return daemonTexts(inner)
		}
	case interface{ Unwrap() []error }:
		var all []string
		for _, inner := range e.Unwrap() {
			all = append(all, daemonTexts(inner)...)
		}
		return all
	}
	if errors.Is(err, errdefs.ErrUnknown) || errors.Is(err, errdefs.ErrInternal) {
		return []string{err.Error()}
	}
	return nil
}

// errnoError is an error with the error number that its text names.
type errnoError struct {
	error
	errno unix.Errno
}

func (e *errnoError) Unwrap() []error { return []error{e.error, e.errno} }
