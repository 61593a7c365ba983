package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Ingest is a blob on its way into the content store. It belongs to one
// goroutine, which must Close it. Its methods are called in this order: Receive,
// again after an ErrCorrupt, Commit, Close.
type Ingest struct {
	f         *Fetcher
	blob      Blob
	key       string
	w         content.Writer
	offset    int64
	host      string   // that serves the next bytes
	origin    origin   // of the bytes held
	alone     bool     // one host has to serve the whole blob
	pinned    string   // the host that does, once it is chosen
	doubted   []string // hosts of rounds that ended with wrong bytes
	blamed    bool     // one of them sent a whole round of wrong bytes
	failures  int      // in a row without a byte gained, over all rounds
	start     time.Time
	fetched   int64 // bytes that came over the network
	verified  bool  // the digest of all bytes is that of the blob
	committed bool  // by another client
}

// Open opens the ingest of b, or continues one that was interrupted. It waits
// while another client writes the same blob. If the blob is in the store
// already, the caller's lease gets it and the error is errdefs.ErrAlreadyExists.
func (f *Fetcher) Open(ctx context.Context, b Blob) (*Ingest, error) {
	in := &Ingest{f: f, blob: b, key: remotes.MakeRefKey(ctx, b.Desc), start: time.Now()}
	if err := in.open(ctx); err != nil {
		return nil, err
	}
	return in, nil
}

func (in *Ingest) open(ctx context.Context) error {
	w, err := in.openWriter(ctx)
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
	in.takeUp()
	return nil
}

func (in *Ingest) giveUp(err error) error {
	return errors.Join(err, in.Close())
}

// Close releases the ingest. What it holds stays for a later pull unless it was
// committed or found corrupt.
func (in *Ingest) Close() error {
	if in.w == nil {
		return nil
	}
	w := in.w
	in.w = nil
	in.leave()
	return w.Close()
}

// Verified reports whether Receive found the digest right. A digest of another
// algorithm than the store's is left to Commit.
func (in *Ingest) Verified() bool { return in.verified }

// Offset returns the number of bytes held.
func (in *Ingest) Offset() int64 { return in.offset }

// Fetched returns the number of bytes that came over the network.
func (in *Ingest) Fetched() int64 { return in.fetched }

// Followed is a content.Writer whose bytes can be read while they are being
// written.
type Followed interface {
	// Follow opens the file that has them, to read.
	Follow() (*os.File, error)
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

// Hungry is a consumer that never makes a fetch wait.
type Hungry interface {
	// Waited returns how long it has waited for bytes so far.
	Waited() time.Duration
}

// Receive fetches what is missing, retrying within the source's budget, and
// copies it to consumer as it arrives, after the store has it. After an error of
// the consumer nothing is retried. A consumer that never blocks should implement
// Hungry; otherwise waiting for the network looks like a stalled consumer. An
// ErrCorrupt leaves the ingest empty, so that Receive may be called again for
// another round over the hosts.
func (in *Ingest) Receive(ctx context.Context, consumer io.Writer) error {
	if err := in.receive(ctx, consumer); err != nil {
		return err
	}
	if err := in.verify(ctx); err != nil {
		return err
	}
	in.f.settle(in.done())
	return nil
}

// done is the event that ends Receive. A blob of which nothing came over the
// network was in the store: another namespace has its bytes, or a pull that was
// killed left them.
func (in *Ingest) done() progress.Event {
	if in.fetched == 0 {
		return in.blob.event(progress.Present)
	}
	done := in.at(progress.FetchDone)
	done.Duration = time.Since(in.start)
	return done
}

func (in *Ingest) receive(ctx context.Context, consumer io.Writer) error {
	for in.offset < in.blob.Desc.Size {
		before := in.offset
		err := in.stream(ctx, consumer)
		if err == nil {
			continue
		}
		if final := in.final(ctx, err); final != nil {
			return final
		}
		if in.offset > before && !in.f.source.Slow(err) { // or a host could trickle for ever
			in.failures = 0
		}
		in.failures++
		if err := in.backoff(ctx, err); err != nil {
			return err
		}
	}
	return nil
}

// final returns the error with which Receive ends after err of a response, or
// nil if another request may help.
func (in *Ingest) final(ctx context.Context, err error) error {
	switch {
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case errors.As(err, new(*localError)):
		return err
	case in.offset == in.blob.Desc.Size && errdefs.IsDataLoss(err):
		// The host sends more than the blob, and has been blamed for it.
		return in.drop(ctx, fmt.Errorf("fetching %s: %w: %w", in.blob.Desc.Digest, ErrCorrupt, err))
	}
	return nil
}

// backoff waits before another request, or returns why there is none.
func (in *Ingest) backoff(ctx context.Context, cause error) error {
	err := in.f.source.Backoff(ctx, in.failures, cause)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if in.pinned != "" {
		return in.forsake(ctx, err)
	}
	in.failures = 0 // of the next caller
	return &unserved{in.mention(fmt.Errorf("fetching %s: %w", in.blob.Desc.Digest, err))}
}

// localError is a failure of the store or of the consumer, not of the network.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// stream copies one response body.
func (in *Ingest) stream(ctx context.Context, consumer io.Writer) error {
	body, err := in.f.source.Open(ctx, in.blob.Ref, in.blob.Desc, source.Range{Offset: in.offset, From: in.pinned})
	if err != nil {
		return err
	}
	defer body.Close()
	in.serving(body.Host)
	if in.alone {
		in.pinned = body.Host
	}
	buf := in.f.buffer()
	defer in.f.buffers.Put(buf)
	p := newPace(in.f.conns, consumer)
	for {
		start := time.Now()
		n, err := body.Read(buf[:])
		waited := time.Since(start)
		if n > 0 {
			if err := in.deliver(buf[:n], consumer); err != nil {
				return &localError{err}
			}
		}
		if err == nil && body.Ranged && (p.add(n, waited, in.blob.Desc.Size-in.offset) || p.conns > 1) {
			return in.split(ctx, body, p, consumer)
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

// write hands bytes to the store, if there is room for them.
func (in *Ingest) write(p []byte) error {
	var err error
	if in.f.Room != nil {
		err = in.f.Room(int64(len(p)))
	}
	if err == nil {
		_, err = in.w.Write(p)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", in.blob.Desc.Digest, err)
	}
	return nil
}

// deliver hands the next bytes of the blob to the store and then to consumer.
func (in *Ingest) deliver(p []byte, consumer io.Writer) error {
	if err := in.write(p); err != nil {
		return err
	}
	in.origin.add(in.host)
	in.offset += int64(len(p))
	in.fetched += int64(len(p))
	in.f.emit.Emit(in.at(progress.FetchProgress))
	if _, err := consumer.Write(p); err != nil {
		return err
	}
	return nil
}

func (in *Ingest) at(kind progress.Kind) progress.Event {
	e := in.blob.event(kind)
	e.Bytes.Done, e.Host = in.offset, in.host
	return e
}

func (in *Ingest) warn(format string, args ...any) {
	e := in.blob.event(progress.Warning)
	e.Message = fmt.Sprintf("blob %s: ", in.blob.Desc.Digest) + fmt.Sprintf(format, args...)
	in.f.emit.Emit(e)
}

// verify compares the digest that the store has made of all the bytes, those
// of earlier attempts included, so that they are hashed once. Digests of
// another algorithm than the store's are left to Commit.
func (in *Ingest) verify(ctx context.Context) error {
	_, err := in.w.Status() // only now has a daemon seen every byte
	if errdefs.IsUnavailable(err) || errdefs.IsAlreadyExists(err) {
		return in.rejoin(ctx)
	}
	if err != nil {
		return fmt.Errorf("reading the ingest of %s: %w", in.blob.Desc.Digest, err)
	}
	got, want := in.w.Digest(), in.blob.Desc.Digest
	in.verified = got == want
	if in.verified || got.Algorithm() != want.Algorithm() {
		return nil
	}
	return in.restart(ctx, fmt.Errorf("got %s, want %s: %w", got, want, ErrCorrupt))
}

// rejoin waits for another client that has opened the ingest when it was whole.
// That client has committed it, or has closed it again.
func (in *Ingest) rejoin(ctx context.Context) error {
	err := errors.Join(in.Close(), in.open(ctx))
	if errdefs.IsAlreadyExists(err) {
		in.verified, in.committed = true, true
		in.f.trails.Delete(in.key)
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

// Commit makes the blob visible with labels. The store checks size and digest
// once more; where bytes of an earlier attempt turn out to be wrong the ingest
// is emptied and the error is ErrCorrupt.
func (in *Ingest) Commit(ctx context.Context, labels map[string]string) error {
	desc := in.blob.Desc
	if in.committed {
		return in.f.Label(ctx, desc.Digest, labels)
	}
	err := in.w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(labels))
	switch {
	case err == nil, errdefs.IsAlreadyExists(err):
		in.verified = true
	case errdefs.IsFailedPrecondition(err):
		return in.restart(ctx, fmt.Errorf("committing %s: %w: %w", desc.Digest, ErrCorrupt, err))
	default:
		return fmt.Errorf("committing %s: %w", desc.Digest, err)
	}
	return nil
}

// restart drops an ingest whose bytes are wrong. A host that sent all of them is
// blamed. If several did, none is, and from then on one host has to serve the
// blob as a whole, so that the next wrong bytes have an owner.
func (in *Ingest) restart(ctx context.Context, cause error) error {
	if host, ok := in.origin.proven(); ok {
		in.blamed = true
		in.f.source.Blame(in.blob.Ref, in.blob.Desc, host, cause)
	} else if len(in.origin.hosts) > 1 {
		in.f.source.Suspect(in.blob.Ref, in.blob.Desc, in.origin.hosts...)
		in.alone = true
	}
	cause = in.name(cause)
	in.origin = origin{unknown: true} // judged: if they cannot be dropped now, they are met again
	return in.drop(ctx, cause)
}

// forsake drops what the only host that was to serve the blob has sent, because it
// does not send the rest. Another one is asked in the next round, with what is left
// of the patience: one more wait, if this one took all.
func (in *Ingest) forsake(ctx context.Context, cause error) error {
	in.f.source.Suspect(in.blob.Ref, in.blob.Desc, in.pinned)
	in.failures = max(in.failures-2, 0)
	cause = fmt.Errorf("fetching %s: %w", in.blob.Desc.Digest, cause)
	if !in.blamed && (errdefs.IsUnavailable(cause) || errdefs.IsResourceExhausted(cause)) {
		return in.drop(ctx, &forsaken{in.mention(cause)})
	}
	return in.drop(ctx, in.name(fmt.Errorf("%w: %w", ErrCorrupt, cause)))
}

// forsaken is the failure of the only host that was to serve a blob: a reason for
// another round, as ErrCorrupt, of the class of the failure, for as long as no host is
// proven to send wrong bytes.
type forsaken struct{ err error }

func (e *forsaken) Error() string        { return e.err.Error() }
func (e *forsaken) Unwrap() error        { return e.err }
func (e *forsaken) Is(target error) bool { return target == ErrCorrupt }

// name adds to cause the hosts of this round and of those before it.
func (in *Ingest) name(cause error) error {
	for _, host := range in.origin.hosts {
		if !slices.Contains(in.doubted, host) {
			in.doubted = append(in.doubted, host)
		}
	}
	if len(in.doubted) == 0 { // all bytes are from an earlier pull
		return cause
	}
	return fmt.Errorf("%s: %w", strings.Join(in.doubted, " and "), cause)
}

// mention adds to a failure of the network that there were wrong bytes before, and
// from where.
func (in *Ingest) mention(cause error) error {
	if len(in.doubted) == 0 {
		return cause
	}
	return fmt.Errorf("%w; before that, wrong bytes came from %s", cause, strings.Join(in.doubted, " or "))
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
	in.host, in.pinned = "", "" // the blob starts anew
	return cause
}
