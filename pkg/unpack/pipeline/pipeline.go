// Package pipeline carries the bytes of layers from where they arrive to where
// they are applied: one goroutine fetches, one inflates, one applies, and
// whichever of the last two would wait hashes meanwhile.
//
//	fetch ─▶ Input (queue or follower) ─▶ inflate ─▶ queue ─▶ Plain ─▶ apply
//	                                                   └▶ sha256
//
// Connect joins the first two goroutines, Run the last two. The stages of all
// layers share one set of turns: when more of them are ready than may work,
// those go first that the pull would wait for longest.
//
// The package knows neither registries nor snapshots: what to fetch and how to
// apply is said by the functions that it is given. Where its layers come from
// is the business of package unpack; start there, with stream.go.
package pipeline

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

const (
	// maxRuns and smallLayer bound the memory in use: layers of more than
	// smallLayer bytes wait until fewer than maxRuns others are in the pipeline.
	// Smaller ones need little memory, for a moment.
	maxRuns    = 8
	smallLayer = 1 << 20
	// maxDecoders is how many goroutines a decoder of zstd makes use of.
	maxDecoders = 2
)

// Pipeline is what the layers on their way have in common. It may be used from
// many goroutines.
type Pipeline struct {
	turns  *turns
	runs   *semaphore.Weighted
	hasher *multibuffer.Hasher
	// decoders is the zstd concurrency per layer. zstd is not scheduled by turns:
	// when CPUs are saturated, handing data between stages costs more than it
	// gains.
	decoders int
	buffers  sync.Pool // of *[bufferSize]byte, for queues
}

// New returns a Pipeline of which as many stages as stages work at the same
// time; that number must be positive.
func New(stages int, hasher *multibuffer.Hasher) *Pipeline {
	return &Pipeline{
		turns:    newTurns(stages),
		runs:     semaphore.NewWeighted(maxRuns),
		hasher:   hasher,
		decoders: min(max(stages/2, 1), maxDecoders),
	}
}

// Turn returns the right to do the work of a whole layer elsewhere, among the
// stages of the others.
func (p *Pipeline) Turn(l *Load) *Turn { return p.turns.of(l.Left) }

// Enter waits until the memory that a layer of size bytes needs may be used.
// The caller calls leave when the layer is done with.
func (p *Pipeline) Enter(ctx context.Context, size int64) (leave func(), err error) {
	if size <= smallLayer {
		return func() {}, nil
	}
	if err := p.runs.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { p.runs.Release(1) }, nil
}

// Input takes the bytes of a blob as they arrive. One that reads them out of the
// file of the store never makes the writer wait, and implements fetch.Hungry.
type Input interface {
	io.Writer
	// Idle returns how long the writer has waited for the pipeline so far. Only
	// the writer may ask.
	Idle() time.Duration
}

// bytesIn is an Input with its other end, which the inflater reads. Either side
// may end it; the other then gets its error.
type bytesIn interface {
	Input
	io.Reader
	// end makes the reader see an error once it has read everything, stop lets
	// every write fail from now on. A nil error stands for io.EOF or
	// io.ErrClosedPipe.
	end(err error)
	stop(err error)
	// readBy names the reader's turn, which is given up while there is nothing to
	// read.
	readBy(t *Turn)
	// idleReader returns how long the reader has waited. Only the reader may ask.
	idleReader() time.Duration
	// recycle releases what it holds, after both sides are done.
	recycle()
}

// Connect runs receive and pour at the same time: pour reads what receive
// writes. What arrives is read back from file, in which the store collects it,
// and Connect closes file; a nil file means that the bytes wait in memory, up
// to a limit. An error of either side ends the other, and the first is returned.
func (p *Pipeline) Connect(ctx context.Context, file *os.File, receive func(context.Context, Input) error, pour func(context.Context, io.Reader) error) error {
	in := p.input(file)
	defer in.recycle()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := receive(ctx, in)
		in.end(err)
		return err
	})
	g.Go(func() error {
		err := pour(ctx, in)
		in.stop(err)
		return err
	})
	return g.Wait()
}

func (p *Pipeline) input(file *os.File) bytesIn {
	if file != nil {
		return newFollower(file)
	}
	return newQueue(&p.buffers)
}

// Layer says what Run has to know of a layer.
type Layer struct {
	Load      *Load
	Algorithm digest.Algorithm // of the digest that Run returns
	// Phase is called when inflating is over, with how long it waited and worked
	// and how many bytes came out.
	Phase func(progress.Phase, time.Duration, int64)
	// Progress is called with the number of bytes that the consumer has read,
	// once for each buffer of them. It may be nil.
	Progress func(int64)
}

// Run inflates src, if it is compressed, and returns the digest of all plain
// bytes, what follows the end of an archive included. consume reads them
// meanwhile, to their end unless it fails.
//
// What cannot be decoded is an errdefs.ErrInvalidArgument; errors of src are
// returned as they are.
func (p *Pipeline) Run(src io.Reader, l Layer, consume func(*Plain) error) (digest.Digest, error) {
	plain := newQueue(&p.buffers)
	defer plain.recycle()
	plain.writerTurn, plain.readerTurn = l.Load.begin(p.turns)
	sum := newSum(p.hasher, l.Algorithm)
	defer sum.drop()
	plain.lull = sum.help
	var g errgroup.Group
	g.Go(func() error { return p.inflate(src, l, &hashed{plain, sum}) })
	err := consumeInTurn(plain, l.Progress, consume)
	plain.stop(err)
	inflated := g.Wait()
	if err == nil { // otherwise one of them got the other's error through the queue
		err = ignoreClosed(inflated)
	}
	if err != nil {
		return "", err
	}
	return sum.digest(), nil
}

// inflate is the stage of Run that ends plain.
func (p *Pipeline) inflate(src io.Reader, l Layer, plain *hashed) error {
	turn := plain.writerTurn
	in, _ := src.(bytesIn)
	if in != nil {
		in.readBy(turn)
	}
	turn.Take()
	defer turn.Give()
	start, before := time.Now(), turn.waited
	n, err := decompress(counted{src, l.Load}, plain, p.decoders)
	busy := time.Since(start) - plain.writerIdle - (turn.waited - before)
	if in != nil {
		busy -= in.idleReader()
	}
	plain.end(err)
	l.Phase(progress.Wait, turn.waited, 0)
	l.Phase(progress.Inflate, busy, n)
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
