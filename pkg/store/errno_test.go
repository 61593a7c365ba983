package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

func TestWithErrno(t *testing.T) {
	said := func(code codes.Code, text string) error { return errgrpc.ToNative(status.Error(code, text)) }
	for _, tc := range []struct {
		name string
		err  error
		want unix.Errno // 0 for none
	}{
		{"nothing", nil, 0},
		{"full", said(codes.Unknown, "write /x/data: no space left on device"), unix.ENOSPC},
		{"full, of an old daemon", said(codes.Unknown, "write /x/data: no space left on device: unknown"), unix.ENOSPC},
		{"in the middle", said(codes.Unknown, "first: disk quota exceeded: cannot clean up: busy"), unix.EDQUOT},
		{"on a line", said(codes.Unknown, "unpacking: read-only file system\nremoving: busy"), unix.EROFS},
		{"internal", said(codes.Internal, "file resize error: truncate meta.db: input/output error"), unix.EIO},
		{"the text alone", said(codes.Unknown, "no space left on device"), unix.ENOSPC},
		{"wrapped and joined", fmt.Errorf("pulling: %w", errors.Join(errors.New("x"), fmt.Errorf("applying: %w", said(codes.Unknown, "a: input/output error")))), unix.EIO},
		{"part of a name", said(codes.Unknown, "open /no space left on device/x: permission denied"), 0},
		{"with a class", said(codes.NotFound, "image x: no space left on device"), 0},
		{"of a registry whose disk is full", fmt.Errorf("asking: no space left on device: %w", errdefs.ErrUnavailable), 0},
		{"beside a daemon's", errors.Join(fmt.Errorf("asking: no space left on device: %w", errdefs.ErrUnavailable), said(codes.Unknown, "x")), 0},
		{"of this process", fmt.Errorf("writing: %w", unix.ENOSPC), unix.ENOSPC},
	} {
		got := store.WithErrno(tc.err)
		for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
			if errors.Is(got, errno) != (errno == tc.want) {
				t.Errorf("%s: got %v of %v, want %v", tc.name, errors.Is(got, errno), errno, errno == tc.want)
			}
		}
		if tc.err != nil && (got.Error() != tc.err.Error() || !errors.Is(got, tc.err)) {
			t.Errorf("%s: got %q, want the error itself, %q", tc.name, got, tc.err)
		}
	}
}

// TestStorageErrors: what is full cannot be written, and what cannot be written is
// an error of the storage; an I/O error is nothing but that.
func TestStorageErrors(t *testing.T) {
	for errno, want := range map[unix.Errno][3]bool{ // full, unwritable, storage
		unix.ENOSPC: {true, true, true},
		unix.EDQUOT: {true, true, true},
		unix.EROFS:  {false, true, true},
		unix.EIO:    {false, false, true},
		unix.ENOENT: {false, false, false},
	} {
		err := fmt.Errorf("writing: %w", errors.Join(errors.New("x"), errno))
		if got := [3]bool{store.IsFull(err), store.IsUnwritable(err), store.IsStorage(err)}; got != want {
			t.Errorf("%v: got full, unwritable, storage %v, want %v", errno, got, want)
		}
	}
	if store.IsFull(nil) || store.IsUnwritable(nil) || store.IsStorage(nil) {
		t.Error("got no error as one of the storage")
	}
}

// TestWithErrnoOf reads the texts that it is given, not those of the error.
func TestWithErrnoOf(t *testing.T) {
	err := errors.New("truncate: no space left on device")
	if got := store.WithErrnoOf(err, "x: input/output error: y"); !errors.Is(got, unix.EIO) || errors.Is(got, unix.ENOSPC) || !errors.Is(got, err) {
		t.Errorf("got %v, want an I/O error", got)
	}
	if got := store.WithErrnoOf(err); got != err {
		t.Errorf("got %v without a text, want the error itself", got)
	}
}
