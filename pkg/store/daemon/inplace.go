package daemon

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

const (
	// What fits one message is not worth a second transaction of the daemon's
	// metadata.
	leastInPlace = messageSize + 1
	// mostInPlace bounds how long that transaction lasts: in it the daemon hashes
	// the ingest, with SHA extensions 0.6 s for each GiB.
	mostInPlace = 512 << 20
)

// suits reports whether an ingest of the blob is worth writing in place.
func suits(desc ocispec.Descriptor) bool {
	return desc.Size >= leastInPlace && desc.Size <= mostInPlace && desc.Digest.Algorithm() == digest.SHA256
}

// inPlace writes the bytes of an ingest into the file in which the daemon
// collects them, instead of sending them through a socket. The ingest is begun
// through the daemon's API, which keeps other clients away from it meanwhile. When
// it is whole it is opened through the API again, as one that was interrupted: the
// daemon then reads and hashes what it has, and continues it as it does any other.
// What the daemon does not have is sent. An inPlace belongs to one goroutine.
type inPlace struct {
	*sender // holds the daemon's lock
	file    *os.File
	size    int64 // of the file
	total   int64 // of the blob
	early   contentdir.Writeback
	again   func() (*sender, error)
}

// inPlace takes over an empty ingest, unless its file cannot be found.
func (c *contentStore) inPlace(ctx context.Context, s *sender, ns string, o content.WriterOpts) content.Writer {
	file := c.ingest(s, ns, os.O_RDWR)
	if file == nil {
		return s
	}
	return &inPlace{
		sender: s, file: file, total: o.Desc.Size, early: contentdir.Writeback{File: file},
		again: func() (*sender, error) { return c.open(ctx, ns, o) },
	}
}

// Write implements io.Writer.
func (w *inPlace) Write(p []byte) (int, error) {
	if w.file == nil {
		return w.sender.Write(p)
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	w.early.Grown(w.size)
	return n, err
}

// Follow implements fetch.Followed.
func (w *inPlace) Follow() (*os.File, error) {
	if w.file == nil {
		return nil, os.ErrClosed
	}
	return os.Open(beneath.Path(w.file))
}

// Status implements content.Writer. If the ingest is whole it is the daemon's,
// from then on. errdefs.ErrUnavailable may mean that another client has opened it
// in between.
func (w *inPlace) Status() (content.Status, error) {
	if w.file != nil && w.size < w.total {
		return content.Status{Ref: w.ref, Offset: w.size, Total: w.total}, nil
	}
	if err := w.handOver(); err != nil {
		return content.Status{}, err
	}
	return w.sender.Status()
}

func (w *inPlace) handOver() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	defer file.Close() // or fs-verity could not seal it
	if err := w.sender.Close(); err != nil {
		return err
	}
	s, err := w.again()
	if err != nil {
		return err
	}
	w.sender = s
	if rest := w.size - s.offset; rest > 0 {
		_, err = io.Copy(s, io.NewSectionReader(file, s.offset, rest))
	}
	return err
}

// Truncate implements content.Writer; as in containerd's, only to nothing.
func (w *inPlace) Truncate(size int64) error {
	if w.file == nil || size != 0 {
		return w.sender.Truncate(size)
	}
	w.size = 0
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return w.file.Truncate(0)
}

// Commit implements content.Writer.
func (w *inPlace) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	if err := w.handOver(); err != nil {
		return errors.Join(err, w.Close())
	}
	return w.sender.Commit(ctx, size, expected, opts...)
}

// Close implements content.Writer.
func (w *inPlace) Close() error {
	var err error
	if w.file != nil {
		err = w.file.Close()
		w.file = nil
	}
	return errors.Join(err, w.sender.Close())
}
