package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/multibuffer"
)

const (
	// What fits one message is not worth a second transaction of the daemon's
	// metadata.
	leastInPlace = messageSize + 1
	// mostInPlace bounds how long that transaction lasts: in it the daemon hashes
	// the ingest, with SHA extensions 0.6 s for each GiB.
	mostInPlace = 512 << 20
)

// suits tells whether an ingest of the blob is one to be written in place.
func suits(desc ocispec.Descriptor) bool {
	return desc.Size >= leastInPlace && desc.Size <= mostInPlace && desc.Digest.Algorithm() == digest.SHA256
}

// inPlace writes the bytes of an ingest into the file in which the daemon
// collects them, instead of sending them through a socket. The ingest is begun
// through the daemon's API, which keeps others away from it meanwhile, and is
// opened through it again in the end, as one that was interrupted: then the
// daemon reads and hashes what it has, and commits it as any other. What it does
// not have by then is sent. It belongs to one goroutine.
type inPlace struct {
	*sender // holds the daemon's lock
	ingestFile
	again func(context.Context) (*sender, error)
}

// inPlace takes over an empty ingest, unless its file cannot be found.
func (c *daemonContent) inPlace(s *sender, ns string, o content.WriterOpts) content.Writer {
	file := ingestData(c.root(), ns, o.Ref, os.O_RDWR)
	if file == nil {
		return s
	}
	return &inPlace{
		sender: s, ingestFile: newIngestFile(file, c.hasher),
		again: func(ctx context.Context) (*sender, error) { return c.open(ctx, ns, o) },
	}
}

// Write implements io.Writer.
func (w *inPlace) Write(p []byte) (int, error) { return w.ingestFile.Write(p) }

// Digest implements content.Writer.
func (w *inPlace) Digest() digest.Digest { return w.ingestFile.Digest() }

// Status implements content.Writer.
func (w *inPlace) Status() (content.Status, error) {
	return content.Status{Ref: w.ref, Offset: w.size}, nil
}

// Truncate implements content.Writer; as in containerd's, only to nothing.
func (w *inPlace) Truncate(size int64) error { return w.truncate(size) }

// Close implements content.Writer.
func (w *inPlace) Close() error { return errors.Join(w.close(), w.sender.Close()) }

// Commit implements content.Writer. errdefs.ErrUnavailable may mean that
// another client has opened the ingest.
func (w *inPlace) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	defer w.close()
	if err := w.sender.Close(); err != nil {
		return err
	}
	s, err := w.again(ctx)
	if err != nil {
		return err
	}
	w.sender = s
	if rest := w.size - s.offset; rest > 0 {
		if _, err := io.Copy(s, io.NewSectionReader(w.file, s.offset, rest)); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	if err := w.close(); err != nil { // a file that is open to be written cannot be sealed by fs-verity
		return errors.Join(err, s.Close())
	}
	return s.Commit(ctx, size, expected, opts...)
}

// ingestData opens the file in which a daemon, whose content folder is root,
// collects the ingest ref of namespace ns. It is nil if that is not to be seen
// from here.
func ingestData(root, ns, ref string, flags int) *os.File {
	dirs, err := ingestsIn(root)
	if err != nil {
		return nil
	}
	for _, dir := range dirs {
		// A daemon puts the namespace and a number before the ref.
		status, err := statusIn(dir)
		if err != nil || !strings.HasPrefix(status.Ref, ns+"/") || !strings.HasSuffix(status.Ref, "/"+ref) {
			continue
		}
		if file, err := os.OpenFile(filepath.Join(dir, "data"), flags|unix.O_NOFOLLOW, 0); err == nil {
			return file
		}
	}
	return nil
}

// ingestFile is the data of an ingest, hashed as it is written.
type ingestFile struct {
	file  *os.File            // nil when it is closed
	sum   *multibuffer.Stream // of the data so far
	size  int64
	early writeback
}

func newIngestFile(file *os.File, hasher *multibuffer.Hasher) ingestFile {
	return ingestFile{file: file, sum: hasher.Stream(), early: writeback{file: file}}
}

// Write implements io.Writer.
func (f *ingestFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	_, _ = f.sum.Write(p[:n]) // never fails
	f.size += int64(n)
	f.early.grown(f.size)
	return n, err
}

// Digest is that of the data so far.
func (f *ingestFile) Digest() digest.Digest {
	sum := f.sum.Sum()
	return digest.NewDigestFromBytes(digest.SHA256, sum[:])
}

func (f *ingestFile) truncate(size int64) error {
	if size != 0 {
		return fmt.Errorf("truncating an ingest to %d bytes: %w", size, errdefs.ErrInvalidArgument)
	}
	f.sum.Reset()
	f.size = 0
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return f.file.Truncate(0)
}

func (f *ingestFile) close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}
