package contentdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// readFlags follow no link and do not wait for the other end of a pipe.
const readFlags = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK

// openRegular opens a file for reading. What is no regular file is an
// errdefs.ErrDataLoss, a link among them.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	file, err := os.OpenFile(path, readFlags, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, nil, failure.New(errdefs.ErrDataLoss, "%s is a link", path)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = failure.New(errdefs.ErrDataLoss, "%s is no regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

// blobReader reads a blob.
type blobReader struct {
	file *os.File
	size int64
}

// ReadAt implements io.ReaderAt.
func (r blobReader) ReadAt(p []byte, at int64) (int, error) { return r.file.ReadAt(p, at) }

// Size implements content.ReaderAt.
func (r blobReader) Size() int64 { return r.size }

// Reader spares content.NewReader a call of pread for each read.
func (r blobReader) Reader() io.Reader { return io.LimitReader(r.file, r.size) }

// Close implements io.Closer.
func (r blobReader) Close() error { return r.file.Close() }

// ReaderAt implements content.Provider.
func (root Blobs) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, failure.New(errdefs.ErrInvalidArgument, "reading a blob: %w", err)
	}
	file, info, err := openRegular(BlobFile(string(root), desc.Digest))
	if errors.Is(err, os.ErrNotExist) {
		return nil, failure.New(errdefs.ErrNotFound, "there is no blob %s", desc.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	return blobReader{file, info.Size()}, nil
}

// Info implements content.InfoProvider.
func (root Blobs) Info(_ context.Context, dgst digest.Digest) (content.Info, error) {
	if err := dgst.Validate(); err != nil {
		return content.Info{}, failure.New(errdefs.ErrInvalidArgument, "looking up a blob: %w", err)
	}
	info, err := os.Lstat(BlobFile(string(root), dgst))
	if errors.Is(err, os.ErrNotExist) {
		return content.Info{}, failure.New(errdefs.ErrNotFound, "there is no blob %s", dgst)
	}
	if err != nil {
		return content.Info{}, err
	}
	return describe(dgst, info), nil
}

func describe(dgst digest.Digest, info os.FileInfo) content.Info {
	return content.Info{Digest: dgst, Size: info.Size(), CreatedAt: info.ModTime(), UpdatedAt: info.ModTime()}
}

// Walk implements content.Manager. What has no name of a blob is passed over.
func (root Blobs) Walk(ctx context.Context, fn content.WalkFunc, fs ...string) error {
	filter, err := filters.ParseAll(fs...)
	if err != nil {
		return err
	}
	return root.each(func(dgst digest.Digest, info os.FileInfo) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if described := describe(dgst, info); filter.Match(content.AdaptInfo(described)) {
			return fn(described)
		}
		return nil
	})
}

// each calls fn for whatever lies in the place of a blob.
func (root Blobs) each(fn func(digest.Digest, os.FileInfo) error) error {
	algorithms, err := readDir(filepath.Join(string(root), "blobs"))
	if err != nil {
		return err
	}
	for _, a := range algorithms {
		entries, err := readDir(filepath.Join(string(root), "blobs", a.Name()))
		if err != nil {
			return err
		}
		for _, e := range entries {
			dgst := digest.NewDigestFromEncoded(digest.Algorithm(a.Name()), e.Name())
			info, err := e.Info()
			if dgst.Validate() != nil || errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				err = fn(dgst, info)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// readDir lists a folder, or nothing where there is none.
func readDir(path string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	return entries, err
}

// sealed is a content store that is not written.
type sealed struct{ Blobs }

// Look opens the content folder root, which need not exist, for reading only.
func Look(root string) *Folder { return &Folder{Store: sealed{Blobs(root)}, root: root} }

func (sealed) refuse() error {
	return failure.New(unix.EROFS, "the content store was opened for reading")
}

// The methods of content.Store that change it, or are replaced by those of Folder.

func (s sealed) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, s.refuse()
}

func (s sealed) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, s.refuse()
}

func (s sealed) Delete(context.Context, digest.Digest) error { return s.refuse() }
func (s sealed) Abort(context.Context, string) error         { return s.refuse() }

func (s sealed) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errdefs.ErrNotImplemented
}

func (s sealed) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, errdefs.ErrNotImplemented
}
