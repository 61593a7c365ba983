// Package contentdir knows the folder in which containerd keeps its content: where
// blobs and ingests lie, and what a kill or a crash leaves of them. It knows no
// records: a Folder is what containerd's metadata database stands on.
//
// An embedded root works on a Folder; a daemon's folder is only looked into, with
// OpenIngest and Writeback. Read Folder.Writer first.
package contentdir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
)

// Folder is containerd's local content store with another writer for new
// ingests. The folders and files are the same; what differs is when they are
// put on stable storage: not blob by blob, which would hold up the unpack, but
// by Sync, before the metadata that refers to them is written.
type Folder struct {
	content.Store
	root   string
	hasher *multibuffer.Hasher
	settle func() error // writes the metadata

	mu      sync.Mutex
	open    map[string]bool  // refs of ingests that are being written
	pending []string         // blobs that are not on stable storage
	lost    map[string]error // blobs that could not be put there, and why
}

// Open opens the content folder root, which must exist. What goes into it is
// hashed by hasher; settle writes the metadata before a blob is removed.
func Open(root string, hasher *multibuffer.Hasher, settle func() error) (*Folder, error) {
	store, err := local.NewStore(root)
	if err != nil {
		return nil, err
	}
	return &Folder{Store: store, root: root, hasher: hasher, settle: settle, open: map[string]bool{}, lost: map[string]error{}}, nil
}

// Delete implements content.Manager. A blob goes only when no record on disk
// refers to it any more.
func (f *Folder) Delete(ctx context.Context, dgst digest.Digest) error {
	if err := f.settle(); err != nil {
		return err
	}
	return f.Store.Delete(ctx, dgst)
}

// Discard removes the file of a damaged blob, whatever records name it.
func (f *Folder) Discard(dgst digest.Digest) error { return os.RemoveAll(BlobFile(f.root, dgst)) }

// ReaderAt implements content.Provider.
func (f *Folder) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	return Blobs(f.root).ReaderAt(ctx, desc)
}

// Info implements content.InfoProvider.
func (f *Folder) Info(ctx context.Context, dgst digest.Digest) (content.Info, error) {
	return Blobs(f.root).Info(ctx, dgst)
}

// Walk implements content.Manager.
func (f *Folder) Walk(ctx context.Context, fn content.WalkFunc, filters ...string) error {
	return Blobs(f.root).Walk(ctx, fn, filters...)
}

// Writer implements content.Ingester. Ingests that exist are continued by
// containerd's own writer, which reads and hashes what they hold. An ingest of
// which a crash left too little for that is begun anew.
func (f *Folder) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if !f.lock(o.Ref) {
		return nil, failure.New(errdefs.ErrUnavailable, "ref %s locked", o.Ref)
	}
	w, err := f.create(o)
	if errors.Is(err, os.ErrExist) {
		if _, spoilt := f.Store.Status(ctx, o.Ref); spoilt == nil {
			f.unlock(o.Ref)
			return f.Store.Writer(ctx, opts...)
		}
		if err = os.RemoveAll(f.ingest(o.Ref)); err == nil {
			w, err = f.create(o)
		}
	}
	if err != nil {
		f.unlock(o.Ref)
		return nil, err
	}
	return w, nil
}

func (f *Folder) lock(ref string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[ref] {
		return false
	}
	f.open[ref] = true
	return true
}

func (f *Folder) unlock(ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, ref)
}

// create makes the folder of a new ingest; os.ErrExist says that there is one.
func (f *Folder) create(o content.WriterOpts) (*fileWriter, error) {
	dir := f.ingest(o.Ref)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	w := &fileWriter{f: f, dir: dir, started: time.Now(), sum: f.hasher.Stream()}
	w.status = content.Status{Ref: o.Ref, Total: o.Desc.Size, Expected: o.Desc.Digest, StartedAt: w.started}
	if err := w.describe(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return w, nil
}

// Sync puts the blobs that were committed on stable storage. The kernel reports
// only once that it could not write a file: such a blob is removed, and Sync
// fails for as long as the metadata names it, which is what names reports.
func (f *Folder) Sync(names func(digest.Digest) bool) error {
	f.mu.Lock()
	pending := f.pending
	f.pending = nil
	f.mu.Unlock()
	dirs := map[string][]string{}
	for _, path := range pending {
		err := syncPath(path)
		switch {
		case errors.Is(err, os.ErrNotExist): // collected meanwhile, perhaps with the folder
		case err != nil:
			f.lose(err, path)
		default:
			dirs[filepath.Dir(path)] = append(dirs[filepath.Dir(path)], path)
		}
	}
	for dir, blobs := range dirs {
		if err := syncPath(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			f.lose(err, blobs...)
		}
	}
	return f.lostOf(names)
}

// lose gives up blobs that could not be put on stable storage.
func (f *Folder) lose(err error, paths ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, path := range paths {
		f.lost[path] = errors.Join(err, os.Remove(path))
	}
}

// lostOf is an error if a lost blob is named; it forgets those that are not.
func (f *Folder) lostOf(names func(digest.Digest) bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for path, err := range f.lost {
		dgst := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), filepath.Base(path))
		if names(dgst) {
			return fmt.Errorf("syncing blob %s: %w", dgst, err)
		}
		delete(f.lost, path)
	}
	return nil
}

func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// fileWriter writes a new ingest. It belongs to one goroutine.
type fileWriter struct {
	f       *Folder
	dir     string
	data    *os.File
	sum     *multibuffer.Stream // of the data so far
	started time.Time
	status  content.Status
	early   Writeback
}

// describe writes the files beside the data, from which containerd resumes.
func (w *fileWriter) describe() error {
	now, err := w.started.MarshalText()
	if err != nil {
		return err
	}
	all := map[string][]byte{"ref": []byte(w.status.Ref), "startedat": now, "updatedat": now}
	if w.status.Total > 0 {
		all["total"] = []byte(strconv.FormatInt(w.status.Total, 10))
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(w.dir, name), text, 0o644); err != nil {
			return err
		}
	}
	w.data, err = os.OpenFile(filepath.Join(w.dir, "data"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	w.early.File = w.data
	return err
}

// Write implements io.Writer.
func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.data.Write(p)
	_, _ = w.sum.Write(p[:n])
	w.status.Offset += int64(n)
	w.early.Grown(w.status.Offset)
	return n, err
}

// Digest implements content.Writer.
func (w *fileWriter) Digest() digest.Digest {
	sum := w.sum.Sum()
	return digest.NewDigestFromBytes(digest.SHA256, sum[:])
}

// Status implements content.Writer.
func (w *fileWriter) Status() (content.Status, error) {
	s := w.status
	s.UpdatedAt = time.Now()
	return s, nil
}

// Truncate implements content.Writer; as in containerd's, only to nothing.
func (w *fileWriter) Truncate(size int64) error {
	if size != 0 {
		return failure.New(errdefs.ErrInvalidArgument, "an ingest cannot be truncated to %d bytes", size)
	}
	w.sum.Reset()
	w.status.Offset = 0
	if _, err := w.data.Seek(0, 0); err != nil {
		return err
	}
	return w.data.Truncate(0)
}

// Close keeps the ingest for a later pull.
func (w *fileWriter) Close() error {
	if w.data == nil {
		return nil
	}
	data := w.data
	w.data = nil
	w.f.unlock(w.status.Ref)
	return data.Close()
}

// Commit makes the blob visible in the folder. It becomes durable with the
// metadata that refers to it.
func (w *fileWriter) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) error {
	if w.data == nil {
		return failure.New(errdefs.ErrFailedPrecondition, "an ingest that is closed cannot be committed")
	}
	got, err := w.verified(size, expected)
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return w.f.publish(w.dir, got)
}

func (w *fileWriter) verified(size int64, expected digest.Digest) (digest.Digest, error) {
	if size > 0 && size != w.status.Offset {
		return "", failure.New(errdefs.ErrFailedPrecondition, "size: got %d, want %d", w.status.Offset, size)
	}
	got := w.Digest()
	if expected != "" && expected.Algorithm() != got.Algorithm() {
		var err error
		if got, err = hashFile(filepath.Join(w.dir, "data"), expected.Algorithm()); err != nil {
			return "", err
		}
	}
	if expected != "" && expected != got {
		return "", failure.New(errdefs.ErrFailedPrecondition, "digest: got %s, want %s", got, expected)
	}
	return got, nil
}

func hashFile(path string, algorithm digest.Algorithm) (digest.Digest, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return algorithm.FromReader(file)
}

// publish moves the data of an ingest to its place among the blobs.
func (f *Folder) publish(ingest string, dgst digest.Digest) error {
	target := BlobFile(f.root, dgst)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	data := filepath.Join(ingest, "data")
	if sameSize(target, data) { // another size is what a crash left of it
		return errors.Join(failure.New(errdefs.ErrAlreadyExists, "content %s is there already", dgst), os.RemoveAll(ingest))
	}
	if err := os.Chmod(data, 0o444); err != nil {
		return err
	}
	if err := removeFolder(target); err != nil {
		return err
	}
	if err := os.Rename(data, target); err != nil {
		return err
	}
	f.mu.Lock()
	f.pending = append(f.pending, target)
	delete(f.lost, target)
	f.mu.Unlock()
	return os.RemoveAll(ingest)
}

// sameSize reports whether both are files of one size.
func sameSize(a, b string) bool {
	infoA, errA := os.Lstat(a)
	infoB, errB := os.Lstat(b)
	return errA == nil && errB == nil && infoA.Mode().IsRegular() && infoA.Size() == infoB.Size()
}

// removeFolder removes what lies at path if it is a folder, which a file cannot be
// renamed over.
func removeFolder(path string) error {
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return nil
	}
	return os.RemoveAll(path)
}
