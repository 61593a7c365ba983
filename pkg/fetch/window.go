package fetch

import (
	"context"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	// pieceSize is what one connection of several fetches at a time: long
	// enough to make a round trip not matter, short enough to wait for.
	pieceSize = 4 << 20
	// maxPieces bounds the memory of all blobs that arrive in pieces, and
	// maxConns the connections of one of them.
	maxPieces = 12
	maxConns  = 8
	// growth is the factor by which a step up multiplies the connections: a blob of
	// some ten megabytes is over before small steps come to an end.
	growth = 4
	// minSplit is how many bytes must be left of a blob for more connections to be
	// worth it.
	minSplit = 16 << 20
	// interval is how long a number of connections is tried before it is
	// judged.
	interval = 250 * time.Millisecond
)

// pace decides whether a blob would arrive faster over more connections: if its
// consumer starves and the last step up has paid.
type pace struct {
	conns int
	since time.Time
	bytes int64
	idle  time.Duration // of the consumer, waiting for bytes
	rate  float64       // bytes per second with fewer connections

	hungry Hungry        // the consumer, if it is one
	waited time.Duration // by hungry, up to here
}

func newPace(conns int, consumer io.Writer) *pace {
	p := &pace{conns: conns, since: time.Now()}
	if h, ok := consumer.(Hungry); ok {
		p.hungry, p.waited = h, h.Waited()
	}
	return p
}

// add counts n bytes that were waited for, with left bytes to come. It reports
// whether an interval is over and the number of connections has grown.
func (p *pace) add(n int, waited time.Duration, left int64) bool {
	p.bytes += int64(n)
	if p.hungry != nil {
		total := p.hungry.Waited()
		waited, p.waited = total-p.waited, total
	}
	p.idle += waited
	elapsed := time.Since(p.since)
	if elapsed < interval {
		return false
	}
	rate := float64(p.bytes) / elapsed.Seconds()
	starving := p.idle > elapsed/2
	p.since, p.bytes, p.idle = time.Now(), 0, 0
	if !starving || p.conns >= maxConns || left < minSplit || rate < p.rate*1.2 {
		return false
	}
	p.conns, p.rate = min(p.conns*growth, maxConns), rate
	return true
}

// piece is a part of a blob that one connection fetches.
type piece struct {
	offset int64
	buf    *[pieceSize]byte
	n      int
	host   string
	err    error
	done   chan struct{}
}

// window fetches a blob over several connections at once. Its pieces are taken
// in order; those that come early wait in memory, which bounds how far ahead
// the connections may run.
type window struct {
	in     *Ingest
	pace   *pace
	g      *errgroup.Group
	pieces []*piece // in flight or waiting, in order
	next   int64    // offset of the next piece
}

// split goes on with more connections where body, that of the only one so far,
// stands. After an error what was under way is dropped, and the caller begins
// again with one connection.
func (in *Ingest) split(ctx context.Context, body io.ReadCloser, p *pace, consumer io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	w := &window{in: in, pace: p, g: &errgroup.Group{}, next: in.offset}
	defer func() {
		cancel()
		_ = w.g.Wait() // pieces carry their own errors
		w.release()
	}()
	if err := w.begin(ctx, func() (io.ReadCloser, string, error) { return body, in.host, nil }); err != nil {
		return err
	}
	for in.offset < in.blob.Desc.Size {
		if err := w.fill(ctx); err != nil {
			return err
		}
		if err := w.deliver(ctx, consumer); err != nil {
			return err
		}
	}
	return nil
}

// fill keeps as many pieces under way as the pace allows. It waits for memory
// only if no piece is under way.
func (w *window) fill(ctx context.Context) error {
	for w.next < w.in.blob.Desc.Size && len(w.pieces) < w.pace.conns {
		if len(w.pieces) > 0 && !w.in.f.Shared.pieces.TryAcquire(1) {
			return nil
		}
		if len(w.pieces) == 0 {
			if err := w.in.f.Shared.pieces.Acquire(ctx, 1); err != nil {
				return context.Cause(ctx)
			}
		}
		w.start(w.opener(ctx))
	}
	return nil
}

// begin starts the first piece.
func (w *window) begin(ctx context.Context, open func() (io.ReadCloser, string, error)) error {
	if err := w.in.f.Shared.pieces.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	w.start(open)
	return nil
}

// opener returns what opens the next piece.
func (w *window) opener(ctx context.Context) func() (io.ReadCloser, string, error) {
	rng := source.Range{Offset: w.next, Length: min(pieceSize, w.in.blob.Desc.Size-w.next), From: w.in.pinned}
	return func() (io.ReadCloser, string, error) {
		body, err := w.in.f.source.Open(ctx, w.in.blob.Ref, w.in.blob.Desc, rng)
		if err != nil {
			return nil, "", err
		}
		return body, body.Host, nil
	}
}

// start fetches the next piece, whose memory has been acquired.
func (w *window) start(open func() (io.ReadCloser, string, error)) {
	p := &piece{offset: w.next, buf: w.in.f.Shared.piece(), n: int(min(pieceSize, w.in.blob.Desc.Size-w.next)), done: make(chan struct{})}
	w.next += int64(p.n)
	w.pieces = append(w.pieces, p)
	w.g.Go(func() error {
		defer close(p.done)
		var body io.ReadCloser
		if body, p.host, p.err = open(); p.err != nil {
			return nil
		}
		defer body.Close()
		if _, p.err = io.ReadFull(body, p.buf[:p.n]); p.err != nil {
			return nil
		}
		// The next read returns what was wrong behind the last byte.
		if _, err := body.Read(nil); err != io.EOF {
			p.err = err
		}
		return nil
	})
}

// deliver waits for the oldest piece and delivers it.
func (w *window) deliver(ctx context.Context, consumer io.Writer) error {
	p := w.pieces[0]
	start := time.Now()
	select {
	case <-p.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p.err != nil {
		return p.err
	}
	waited := time.Since(start)
	w.in.host = p.host
	if err := w.in.deliver(p.buf[:p.n], consumer); err != nil {
		return &localError{err}
	}
	w.drop(p)
	w.pace.add(p.n, waited, w.in.blob.Desc.Size-w.in.offset)
	return nil
}

// drop gives the memory of p back, the oldest piece.
func (w *window) drop(p *piece) {
	w.pieces = w.pieces[1:]
	w.in.f.Shared.freePieces.Put(p.buf)
	w.in.f.Shared.pieces.Release(1)
}

// release gives all memory back once nothing is under way.
func (w *window) release() {
	for len(w.pieces) > 0 {
		w.drop(w.pieces[0])
	}
}
