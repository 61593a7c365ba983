// Package fetch brings one blob into a content store: it opens the ingest,
// continues where an earlier attempt stopped, asks the registry for the rest,
// hands every byte to the store and to a consumer at once, and commits only
// what has the right size and digest.
//
// Which hosts are asked, with which credentials, and when it is time to give
// up is pkg/registry's business; what the bytes are good for is pkg/unpack's.
package fetch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// ErrCorrupt says that the bytes received are not those of the digest. What
// was received has been dropped.
var ErrCorrupt = fmt.Errorf("wrong bytes: %w", errdefs.ErrDataLoss)

// ErrUnserved says that no host would serve the blob, or the rest of it. The
// bytes that came before are not in doubt. Its own text is never shown.
var ErrUnserved = errors.New("not served")

// unserved is the failure of the hosts.
type unserved struct{ err error }

func (e *unserved) Error() string        { return e.err.Error() }
func (e *unserved) Unwrap() error        { return e.err }
func (e *unserved) Is(target error) bool { return target == ErrUnserved }

// Fetcher brings blobs into a content store. It may be used from many
// goroutines and must not be copied.
type Fetcher struct {
	source  source.Source
	content content.Store
	emit    progress.Sink

	conns      int                 // that a blob begins with
	buffers    sync.Pool           // of *[bufferSize]byte
	pieces     *semaphore.Weighted // see window
	freePieces sync.Pool           // of *[pieceSize]byte
}

// New returns a Fetcher that fetches from r into c.
func New(src source.Source, c content.Store, sink progress.Sink) *Fetcher {
	return &Fetcher{source: src, content: c, emit: sink, conns: 1, pieces: semaphore.NewWeighted(maxPieces)}
}

// Source is where blobs come from: the repository of Ref. Labels are given to
// every blob.
type Source struct {
	Ref    source.Ref
	Labels map[string]string
}

// From returns the source of the blobs of ref.
func From(ref source.Ref) Source { return Source{Ref: ref, Labels: sourceLabels(ref)} }

// Blob is what to fetch.
type Blob struct {
	Ref  source.Ref
	Desc ocispec.Descriptor
	Kind progress.Blob
}

func (b Blob) event(kind progress.Kind) progress.Event {
	return progress.Event{
		Kind: kind, Ref: b.Ref.Name, Blob: b.Kind,
		Digest: b.Desc.Digest, MediaType: b.Desc.MediaType, Bytes: progress.Bytes{Total: b.Desc.Size},
	}
}

const (
	// stallsOfOthers is for how many stall time-outs another client may hold an
	// ingest without a byte: it may be waiting for a host that has asked it to.
	stallsOfOthers = 2
	// lostLock is for how long a lock may be without an ingest, until it is clear
	// that nobody was about to commit it.
	lostLock = 2 * time.Second
	// The pauses between two tries to open what another client has open.
	lockPause    = 16 * time.Millisecond
	maxLockPause = 2 * time.Second
)

// Ingest is a blob on its way into the content store. It belongs to one
// goroutine, which must Close it.
type Ingest struct {
	f      *Fetcher
	blob   Blob
	key    string
	w      content.Writer
	offset int64
	host   string // that served the last bytes
	start  time.Time
	came   int64 // bytes that came over the network
	sure   bool  // the digest of all bytes is that of the blob
	taken  bool  // another client has committed it
}

// Open opens the ingest of b, or continues one that was interrupted. It waits
// while another client writes the same blob. If the blob is in the store
// already it is leased to us and the error is errdefs.ErrAlreadyExists.
func (f *Fetcher) Open(ctx context.Context, b Blob) (*Ingest, error) {
	in := &Ingest{f: f, blob: b, key: remotes.MakeRefKey(ctx, b.Desc), start: time.Now()}
	if err := in.open(ctx); err != nil {
		return nil, err
	}
	return in, nil
}

func (in *Ingest) open(ctx context.Context) error {
	w, err := in.writer(ctx)
	if err != nil {
		return fmt.Errorf("opening the ingest of %s: %w", in.blob.Desc.Digest, err)
	}
	in.w = w
	status, err := w.Status()
	if err != nil {
		return in.giveUp(fmt.Errorf("reading the ingest of %s: %w", in.blob.Desc.Digest, err))
	}
	if status.Offset > in.blob.Desc.Size {
		if err := w.Truncate(0); err != nil {
			return in.giveUp(fmt.Errorf("emptying the ingest of %s: %w", in.blob.Desc.Digest, err))
		}
		status.Offset = 0
	}
	in.offset = status.Offset
	return nil
}

// writer opens the ingest. It waits for another client that has it open as long
// as that one gets on, and then begins an ingest of its own: a client may hang,
// and a daemon whose metadata had no room for an ingest holds the lock of it
// until it is restarted.
func (in *Ingest) writer(ctx context.Context) (content.Writer, error) {
	var held content.Status
	seen := time.Now()
	for pause := lockPause; ; pause = min(2*pause, maxLockPause) {
		w, err := in.f.content.Writer(ctx, content.WithRef(in.key), content.WithDescriptor(in.blob.Desc))
		if !errdefs.IsUnavailable(err) {
			return w, err
		}
		now, statusErr := in.f.content.Status(ctx, in.key)
		if errdefs.IsUnavailable(statusErr) { // it is the daemon that is away
			seen = time.Now()
		}
		if statusErr == nil && (now.Offset != held.Offset || !now.UpdatedAt.Equal(held.UpdatedAt)) {
			held, seen = now, time.Now()
		}
		patience := stallsOfOthers * in.f.source.StallTimeout()
		if errdefs.IsNotFound(statusErr) {
			patience = min(patience, lostLock)
		}
		if time.Since(seen) > patience {
			in.warn("its ingest has been locked for %v without a byte; another is begun beside it", time.Since(seen).Round(time.Second))
			in.key, seen = in.key+"-"+strings.ToLower(rand.Text()[:8]), time.Now()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (in *Ingest) warn(format string, args ...any) {
	e := in.blob.event(progress.Warning)
	e.Message = fmt.Sprintf("blob %s: ", in.blob.Desc.Digest) + fmt.Sprintf(format, args...)
	in.f.emit.Emit(e)
}

func (in *Ingest) giveUp(err error) error {
	return errors.Join(err, in.Close())
}

// Close releases the ingest; what it holds stays for a later pull unless it
// was committed or found corrupt.
func (in *Ingest) Close() error {
	if in.w == nil {
		return nil
	}
	w := in.w
	in.w = nil
	return w.Close()
}

// Verified tells whether Receive found the digest right. Only one of another
// algorithm than the store's is left to Commit.
func (in *Ingest) Verified() bool { return in.sure }

// Offset is the number of bytes held.
func (in *Ingest) Offset() int64 { return in.offset }

// Fetched is the number of bytes that came over the network.
func (in *Ingest) Fetched() int64 { return in.came }

// Receive fetches what is missing, retrying within the registry's budget, and
// copies it to each as it arrives, after the store has it. After an error of the
// consumer nothing is retried. A consumer that never makes it wait should be a
// Hungry one, or it seems to starve whenever the network is waited for. An
// ErrCorrupt leaves the ingest empty, so that Receive may be called again for
// another round over the hosts.
func (in *Ingest) Receive(ctx context.Context, each io.Writer) error {
	if err := in.receive(ctx, each); err != nil {
		return err
	}
	if err := in.verify(ctx); err != nil {
		return err
	}
	done := in.at(progress.FetchDone)
	done.Duration = time.Since(in.start)
	in.f.emit.Emit(done)
	return nil
}

// verify compares the digest that the store has made of all the bytes, those
// of earlier attempts included, so that they are hashed once. Digests of
// another algorithm than the store's are left to the commit.
func (in *Ingest) verify(ctx context.Context) error {
	_, err := in.w.Status() // only now has a daemon seen every byte
	if errdefs.IsUnavailable(err) || errdefs.IsAlreadyExists(err) {
		return in.rejoin(ctx)
	}
	if err != nil {
		return fmt.Errorf("reading the ingest of %s: %w", in.blob.Desc.Digest, err)
	}
	got, want := in.w.Digest(), in.blob.Desc.Digest
	in.sure = got == want
	if in.sure || got.Algorithm() != want.Algorithm() {
		return nil
	}
	return in.restart(ctx, fmt.Errorf("%s: got %s, want %s: %w", in.host, got, want, ErrCorrupt))
}

// rejoin waits for another client that has opened the ingest when it was whole.
// That one has committed it, or has let go of it.
func (in *Ingest) rejoin(ctx context.Context) error {
	err := errors.Join(in.Close(), in.open(ctx))
	if errdefs.IsAlreadyExists(err) {
		in.sure, in.taken = true, true
		return nil
	}
	if err != nil {
		return err
	}
	if in.offset < in.blob.Desc.Size {
		return fmt.Errorf("%w: another client has emptied the ingest of %s", ErrCorrupt, in.blob.Desc.Digest)
	}
	return in.verify(ctx)
}

// Followed is a content.Writer whose bytes can be read while they are being
// written.
type Followed interface {
	// Follow opens the file that has them, to read.
	Follow() (*os.File, error)
}

// Hungry is a consumer that never makes a fetch wait.
type Hungry interface {
	// Waited is for how long it has waited for bytes so far.
	Waited() time.Duration
}

// Follow opens the file in which the store collects the bytes, to read them behind
// Receive. It is nil if there is none to be seen.
func (in *Ingest) Follow() *os.File {
	w, ok := in.w.(Followed)
	if !ok {
		return nil
	}
	file, err := w.Follow()
	if err != nil {
		return nil
	}
	return file
}

func (in *Ingest) receive(ctx context.Context, each io.Writer) error {
	for failures := 0; in.offset < in.blob.Desc.Size; {
		before := in.offset
		err := in.stream(ctx, each)
		if err == nil {
			continue
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if errors.As(err, new(*sinkError)) {
			return err
		}
		if in.offset == in.blob.Desc.Size && errdefs.IsDataLoss(err) {
			// The host sends more than the blob, and has been blamed for it.
			return in.drop(ctx, fmt.Errorf("fetching %s: %w: %w", in.blob.Desc.Digest, ErrCorrupt, err))
		}
		if in.offset > before && !in.f.source.Slow(err) { // or a host could trickle for ever
			failures = 0
		}
		failures++
		if err := in.f.source.Backoff(ctx, failures, err); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return &unserved{fmt.Errorf("fetching %s: %w", in.blob.Desc.Digest, err)}
		}
	}
	return nil
}

// sinkError tells a failure of our side from one of the network.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// stream copies one response body.
func (in *Ingest) stream(ctx context.Context, each io.Writer) error {
	body, err := in.f.source.Open(ctx, in.blob.Ref, in.blob.Desc, source.Range{Offset: in.offset})
	if err != nil {
		return err
	}
	defer body.Close()
	in.serving(body.Host)
	buf := in.f.buffer()
	defer in.f.buffers.Put(buf)
	p := newPace(in.f.conns, each)
	for {
		start := time.Now()
		n, err := body.Read(buf[:])
		waited := time.Since(start)
		if n > 0 {
			if err := in.take(buf[:n], each); err != nil {
				return &sinkError{err}
			}
		}
		if err == nil && body.Ranged && (p.add(n, waited, in.blob.Desc.Size-in.offset) || p.conns > 1) {
			return in.split(ctx, body, p, each)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// serving notes which host sends the next bytes; the first one starts the blob.
func (in *Ingest) serving(host string) {
	first := in.host == ""
	in.host = host
	if first {
		in.f.emit.Emit(in.at(progress.FetchStart))
	}
}

// take files the next bytes of the blob.
func (in *Ingest) take(p []byte, each io.Writer) error {
	if _, err := in.w.Write(p); err != nil {
		return fmt.Errorf("writing %s: %w", in.blob.Desc.Digest, err)
	}
	in.offset += int64(len(p))
	in.came += int64(len(p))
	in.f.emit.Emit(in.at(progress.FetchProgress))
	if _, err := each.Write(p); err != nil {
		return err
	}
	return nil
}

func (in *Ingest) at(kind progress.Kind) progress.Event {
	e := in.blob.event(kind)
	e.Bytes.Done, e.Host = in.offset, in.host
	return e
}

// Commit makes the blob visible with labels. The store checks size and digest
// once more; where bytes of an earlier attempt turn out to be wrong the ingest
// is emptied and the error is ErrCorrupt.
func (in *Ingest) Commit(ctx context.Context, labels map[string]string) error {
	desc := in.blob.Desc
	if in.taken {
		return in.f.Label(ctx, desc.Digest, labels)
	}
	err := in.w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(labels))
	switch {
	case err == nil, errdefs.IsAlreadyExists(err):
	case errdefs.IsFailedPrecondition(err):
		return in.restart(ctx, fmt.Errorf("committing %s: %w: %w", desc.Digest, ErrCorrupt, err))
	default:
		return fmt.Errorf("committing %s: %w", desc.Digest, err)
	}
	return nil
}

// restart drops an ingest whose bytes are wrong and tells the registry who sent
// them.
func (in *Ingest) restart(ctx context.Context, cause error) error {
	in.f.source.Blame(in.blob.Ref, in.blob.Desc, in.host, cause)
	return in.drop(ctx, cause)
}

// drop replaces an ingest, which containerd would keep for the next pull to
// fail on, by a fresh one. Truncating it would not do: a daemon truncates at
// the next write, which may never come.
func (in *Ingest) drop(ctx context.Context, cause error) error {
	if err := errors.Join(in.Close(), in.f.content.Abort(ctx, in.key)); err != nil && !errdefs.IsNotFound(err) {
		return errors.Join(cause, fmt.Errorf("dropping the ingest: %w", err))
	}
	if err := in.open(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}
