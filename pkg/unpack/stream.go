package unpack

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/inflate"
	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// stream is the fused pipeline: while in receives and stores the layer, its
// bytes are inflated and applied. When both agree with the manifest and the
// config the blob is committed, with its diff ID, and beside it the snapshot:
// either waits for the disk.
func (l *layer) stream(ctx context.Context, in *fetch.Ingest) error {
	arrived := l.arrival(in)
	defer arrived.recycle()
	var received error
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		start := time.Now()
		received = in.Receive(gctx, arrived)
		arrived.end(received)
		l.phase(progress.Fetch, time.Since(start)-arrived.idleWriter(), in.Fetched())
		if _, follows := arrived.(*follower); follows { // what is in a queue takes memory
			l.arrived()
		}
		return received
	})
	g.Go(func() error {
		err := l.pour(gctx, arrived)
		arrived.stop(err)
		return err
	})
	// An error travels through the queue to the other side: what was received
	// wrong is the cause of what could not be applied, except where the applier
	// made the receiver stop.
	if err := g.Wait(); err != nil {
		if errors.Is(received, fetch.ErrCorrupt) || errors.Is(received, fetch.ErrUnserved) {
			return received
		}
		return l.suspectBytes(in, err)
	}
	set := maps.Clone(l.img.Source.Labels)
	if set == nil {
		set = map[string]string{}
	}
	set[labels.LabelUncompressed] = l.diffID.String()
	if in.Verified() {
		l.isReady()
	}
	return in.Commit(ctx, set)
}

// arrival passes on what in receives, through the file that it is stored in
// where we see one.
func (l *layer) arrival(in *fetch.Ingest) arrival {
	if file := in.Follow(); file != nil {
		return newFollower(file)
	}
	return newQueue(&l.u.buffers)
}

// suspectBytes decides what a failure to apply means: if the blob was not
// verified yet, its bytes may have been wrong, which only the rest can tell.
func (l *layer) suspectBytes(in *fetch.Ingest, err error) error {
	if !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) {
		return err
	}
	if in.Verified() {
		return err
	}
	return fmt.Errorf("%w: %w", fetch.ErrCorrupt, err)
}

// pour inflates and applies what src delivers, and checks the diff ID over all
// of it, what follows the end of the archive included.
func (l *layer) pour(ctx context.Context, src io.Reader) error {
	if l.desc.Size > smallLayer {
		if err := l.u.pipelines.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		defer l.u.pipelines.Release(1)
	}
	if !l.blobOnly {
		l.u.emit.Emit(l.event(progress.UnpackStart))
	}
	plain := newQueue(&l.u.buffers)
	defer plain.recycle()
	plain.writerTurn, plain.readerTurn = l.load.begin(l.u.turns)
	var g errgroup.Group
	sum := newSum(l.u.store.Hasher, l.diffID.Algorithm())
	defer sum.drop()
	plain.lull = sum.help
	g.Go(func() error { return l.inflate(src, &hashed{plain, sum}) })
	n, err := l.apply(ctx, plain)
	plain.stop(err)
	inflated := g.Wait()
	if err == nil { // otherwise one of them got the other's error through the queue
		err = ignoreClosed(inflated)
	}
	if err != nil {
		return fmt.Errorf("applying layer %s: %w", l.desc.Digest, err)
	}
	if got := sum.digest(); got != l.diffID {
		return l.wrongDiffID(got)
	}
	l.applied(n)
	return nil
}

// inflate is the stage of pour that ends plain.
func (l *layer) inflate(src io.Reader, plain *hashed) error {
	turn := plain.writerTurn
	arrived, _ := src.(arrival)
	if arrived != nil {
		arrived.readBy(turn)
	}
	turn.take()
	defer turn.give()
	start, before := time.Now(), turn.waited
	n, err := decompress(reader{src, &l.load}, plain, l.u.decoders)
	busy := time.Since(start) - plain.writerIdle - (turn.waited - before)
	if arrived != nil {
		busy -= arrived.idleReader()
	}
	plain.end(err)
	l.phase(progress.Wait, turn.waited, 0)
	l.phase(progress.Inflate, busy, n)
	return err
}

// apply is the stage of pour that reads plain, and returns how much that was.
func (l *layer) apply(ctx context.Context, plain *queue) (int64, error) {
	turn := plain.readerTurn
	turn.take()
	defer turn.give()
	bound := l.u.bounds.of(l.desc.Size)
	if l.blobOnly {
		n, err := drain(plain, bound.bytes)
		return n, bound.explain(err)
	}
	start, before := time.Now(), turn.waited
	meter := &meter{l: l, src: plain}
	result, err := lay.Apply(ctx, l.dir, meter, l.applyOptions(bound))
	l.phase(progress.Apply, time.Since(start)-plain.readerIdle-(turn.waited-before), meter.n)
	l.implicit, l.usage = result.Implicit, result.Usage
	l.warn(result.Warnings)
	return meter.n, bound.explain(err)
}

// drain reads q to its end, and at most limit bytes of it if that is not 0.
func drain(q *queue, limit int64) (int64, error) {
	if limit == 0 {
		return io.Copy(io.Discard, q)
	}
	n, err := io.CopyN(io.Discard, q, limit+1)
	if err == io.EOF {
		return n, nil
	}
	return n, cmp.Or(err, lay.ErrLimit)
}

// warn tells what of the layer this system cannot hold; one line stands for
// all, since an attribute that is refused once is refused for every file.
func (l *layer) warn(all []string) {
	if len(all) == 0 {
		return
	}
	e := l.event(progress.Warning)
	e.Message = fmt.Sprintf("applying layer %s: %s", l.desc.Digest, all[0])
	if len(all) > 1 {
		e.Message += fmt.Sprintf(" (and %d more like it)", len(all)-1)
	}
	l.u.emit.Emit(e)
}

// applyOptions: layers above the first become overlay's whiteouts, also those
// that were prepared as a bare folder to get their parent later. Everything
// else is applied in place.
func (l *layer) applyOptions(b bound) lay.Options {
	o := lay.Options{Whiteouts: lay.InPlace, MaxBytes: b.bytes}
	if l.overlay || l.preparent != l.parent {
		o.Whiteouts = lay.Overlay
	}
	return o
}

func ignoreClosed(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// origin is where the bytes to decompress come from. It remembers why they
// ended, which tells a stream that is malformed from one that did not arrive.
type origin struct {
	src io.Reader
	err error // other than io.EOF
}

// Read implements io.Reader.
func (o *origin) Read(p []byte) (int, error) {
	n, err := o.src.Read(p)
	if err != nil && err != io.EOF {
		o.err = err
	}
	return n, err
}

// judge says what an error of a decoder means.
func (o *origin) judge(err error) error {
	if o.err != nil {
		return o.err
	}
	return fmt.Errorf("inflating: %w: %w", errdefs.ErrInvalidArgument, err)
}

// decompress copies src to q, inflated if it is compressed, and returns the
// number of bytes that came out. What it is shows in its first bytes, since
// media types cannot be relied on. Of decoders a format that can takes several
// goroutines.
func decompress(src io.Reader, q *hashed, decoders int) (int64, error) {
	o := &origin{src: src}
	peek := bufio.NewReaderSize(o, 64<<10)
	magic, err := peek.Peek(inflate.MagicSize)
	if err != nil && err != io.EOF {
		return 0, err
	}
	switch inflate.Sniff(magic) {
	case inflate.Gzip:
		return inflateInto(q, peek, o)
	case inflate.Zstd:
		return unzstdInto(q, peek, o, decoders)
	}
	return copyInto(q, peek, o)
}

// inflateInto decodes straight into the queue's buffers.
func inflateInto(q *hashed, src io.Reader, o *origin) (n int64, err error) {
	z := inflate.NewReader(src)
	for {
		buf, err := q.buffer()
		if err != nil {
			return n, err
		}
		data, err := z.Fill(buf)
		if len(data) > 0 {
			n += int64(len(data))
			q.send(data, buf)
			continue
		}
		q.free <- buf
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, o.judge(err)
		}
	}
}

func unzstdInto(q *hashed, src io.Reader, o *origin, decoders int) (int64, error) {
	z, err := zstd.NewReader(src, zstd.WithDecoderLowmem(false), zstd.WithDecoderConcurrency(decoders))
	if err != nil {
		return 0, o.judge(err)
	}
	defer z.Close()
	return copyInto(q, z, o)
}

func copyInto(q *hashed, src io.Reader, o *origin) (n int64, err error) {
	for {
		buf, err := q.buffer()
		if err != nil {
			return n, err
		}
		m, err := fill(src, buf)
		n += int64(m)
		q.send(buf[:m], buf)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, o.judge(err)
		}
	}
}

// fill is io.ReadFull, which cannot be used here: its io.ErrUnexpectedEOF for an
// end after some bytes is also what a decoder says of a stream that breaks off.
func fill(src io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = src.Read(buf[n:])
		n += m
	}
	return n, err
}

// hashed is a queue that hashes what it is sent: whichever side would wait for
// the other does it.
type hashed struct {
	*queue
	sum sum
}

func (h *hashed) send(data, buf []byte) { h.sum.add(data, h.share(data, buf)) }

// sum is the digest of what it is given.
type sum struct {
	algorithm digest.Algorithm
	stream    *multibuffer.Stream // for SHA-256
	other     hash.Hash           // for other algorithms
}

func newSum(h *multibuffer.Hasher, algorithm digest.Algorithm) sum {
	if algorithm == digest.SHA256 {
		return sum{algorithm: algorithm, stream: h.Stream()}
	}
	return sum{algorithm: algorithm, other: algorithm.Hash()}
}

// add hashes p, and calls done when it has.
func (s sum) add(p []byte, done func()) {
	if s.stream != nil {
		s.stream.Add(p, done)
		return
	}
	s.other.Write(p)
	done()
}

// help hashes a little of what waits for it, if anything does.
func (s sum) help() bool { return s.stream != nil && s.stream.Help() }

// drop lets go of what is not hashed yet.
func (s sum) drop() {
	if s.stream != nil {
		s.stream.Drop()
	}
}

func (s sum) digest() digest.Digest {
	if s.stream == nil {
		return digest.NewDigest(s.algorithm, s.other)
	}
	all := s.stream.Sum()
	return digest.NewDigestFromBytes(s.algorithm, all[:])
}

// meter counts what the applier reads.
type meter struct {
	l   *layer
	src *queue
	n   int64
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.src.Read(p)
	if n > 0 {
		m.n += int64(n)
		m.report()
	}
	return n, err
}

// report emits an event for every buffer's worth.
func (m *meter) report() {
	if len(m.src.cur.data) > 0 {
		return
	}
	e := m.l.event(progress.UnpackProgress)
	e.Bytes.Done = m.n
	m.l.u.emit.Emit(e)
}
