package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// readSize is the size of the reads of a blob; larger ones do not come back in one
// message of a daemon.
const readSize = 1 << 20

// blobs hashes the blobs of a content store, each once.
type blobs struct {
	store   *store.Store
	emit    progress.Sink
	buffers sync.Pool // of *[readSize]byte
	mu      sync.Mutex
	known   map[digest.Digest]*verdict
}

func newBlobs(s *store.Store, emit progress.Sink) *blobs {
	return &blobs{store: s, emit: emit, known: map[digest.Digest]*verdict{}}
}

// verdict is what was found out about a blob.
type verdict struct {
	kind    Kind // empty for a blob that is whole
	message string
	size    int64
	record  bool // the metadata knows of it
	labels  map[string]string
}

// consumer is the image for which a blob is looked at, and what the blob is to it.
type consumer struct {
	ref  string
	kind progress.Blob
}

// judge hashes the blob desc unless that was done before. An error means that the
// store could not be asked.
func (b *blobs) judge(ctx context.Context, desc ocispec.Descriptor, u consumer) (*verdict, error) {
	b.mu.Lock()
	v := b.known[desc.Digest]
	b.mu.Unlock()
	if v == nil {
		var err error
		if v, err = b.read(ctx, desc, u); err != nil {
			return nil, err
		}
		b.mu.Lock()
		b.known[desc.Digest] = v
		b.mu.Unlock()
	}
	if v.kind == "" && v.size != desc.Size {
		wrong := *v
		wrong.kind, wrong.message = Malformed, fmt.Sprintf("it has %d bytes, the document that lists it says %d", v.size, desc.Size)
		return &wrong, nil
	}
	return v, nil
}

// forget makes the next judgement a new one.
func (b *blobs) forget(dgst digest.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, dgst)
}

func (b *blobs) read(ctx context.Context, desc ocispec.Descriptor, u consumer) (*verdict, error) {
	start := time.Now()
	info, err := b.store.Content.Info(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return notStored(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", desc.Digest, err)
	}
	v := &verdict{record: true, labels: info.Labels}
	shown := progress.Event{Kind: progress.VerifyProgress, Ref: u.ref, Blob: u.kind, Digest: desc.Digest, Bytes: progress.Bytes{Total: desc.Size}}
	ra, err := b.store.Content.ReaderAt(ctx, desc)
	if err == nil {
		err = b.hash(ctx, ra, desc, v, shown)
		err = errors.Join(err, ra.Close())
	}
	if err == nil && v.kind == "" { // a daemon reads no more of a file than its record says
		if v.message, err = b.store.BlobDamage(ctx, info); v.message != "" {
			v.kind = Corrupt
		}
	}
	switch {
	case err == nil:
	case abortive(ctx, err):
		return nil, fmt.Errorf("reading %s: %w", desc.Digest, err)
	case errdefs.IsNotFound(err):
		if _, err := b.store.Content.Info(ctx, desc.Digest); errdefs.IsNotFound(err) { // a collection has just removed both
			v = notStored()
			break
		}
		v.kind, v.message = Missing, "its file is gone"
	default:
		v.kind, v.message = Corrupt, "it cannot be read: "+err.Error()
	}
	shown.Kind, shown.Bytes.Done, shown.Message, shown.Duration = progress.VerifyDone, v.size, v.message, time.Since(start)
	b.emit.Emit(shown)
	return v, nil
}

func notStored() *verdict { return &verdict{kind: Missing, message: "not in the content store"} }

// hash reads the blob to its end and compares size and digest. It shows how far
// it has come.
func (b *blobs) hash(ctx context.Context, ra content.ReaderAt, desc ocispec.Descriptor, v *verdict, shown progress.Event) error {
	buf, ok := b.buffers.Get().(*[readSize]byte)
	if !ok {
		buf = new([readSize]byte)
	}
	defer b.buffers.Put(buf)
	sum := desc.Digest.Algorithm().Digester()
	src := content.NewReader(ra)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		shown.Bytes.Done = v.size
		b.emit.Emit(shown)
		n, err := src.Read(buf[:])
		sum.Hash().Write(buf[:n])
		v.size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return err
		}
	}
	switch got := sum.Digest(); {
	case got == desc.Digest:
	case v.size != desc.Size:
		v.kind, v.message = Corrupt, fmt.Sprintf("got %d bytes, want %d", v.size, desc.Size)
	default:
		v.kind, v.message = Corrupt, fmt.Sprintf("got digest %s", got)
	}
	return nil
}

// document returns the bytes of a blob that is whole.
func (b *blobs) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	body, err := b.store.Document(ctx, desc)
	if errdefs.IsDataLoss(err) {
		return nil, failure.New(errdefs.ErrUnavailable, "%s changed while it was read", desc.Digest)
	}
	return body, err
}
