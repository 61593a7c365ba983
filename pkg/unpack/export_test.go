package unpack

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
)

// What the tests of package unpack_test look at from inside: the queue between
// two goroutines, and the decompression of foreign bytes.

// Queue is a queue with buffers of its own.
type Queue struct{ q *queue }

// Follower passes on what is written to a file.
type Follower struct{ f *follower }

func NewFollower(file *os.File) Follower { return Follower{newFollower(file)} }

func (f Follower) Write(p []byte) (int, error) { return f.f.Write(p) }
func (f Follower) Read(p []byte) (int, error)  { return f.f.Read(p) }
func (f Follower) End(err error)               { f.f.end(err) }
func (f Follower) Stop(err error)              { f.f.stop(err) }
func (f Follower) ReadBy(t Turn)               { f.f.readBy(t.t) }
func (f Follower) Waited() time.Duration       { return f.f.Waited() }

// Left is how long a layer of size bytes is thought to take that are not read,
// when a stage has worked for some time.
func Left(size, read int64, worked, behind time.Duration) time.Duration {
	l := &load{size: size, behind: behind, stages: []*turn{{}, {}}}
	l.read.Store(read)
	l.stages[1].worked.Store(int64(worked))
	return l.left()
}

// BufferSize is how much a queue passes on at a time, Buffers how often it does
// before it waits.
const (
	BufferSize = bufferSize
	Buffers    = queueBuffers
)

func NewQueue() Queue { return Queue{newQueue(&sync.Pool{})} }

func (q Queue) Write(p []byte) (int, error) { return q.q.Write(p) }
func (q Queue) Read(p []byte) (int, error)  { return q.q.Read(p) }
func (q Queue) End(err error)               { q.q.end(err) }
func (q Queue) Stop(err error)              { q.q.stop(err) }
func (q Queue) Recycle()                    { q.q.recycle() }
func (q Queue) Lull(work func() bool)       { q.q.lull = work }

// Turn is a stage's right to work among others.
type Turn struct{ t *turn }

// NewTurns lets n stages work at once, and returns what makes their turns, of
// weights in seconds.
func NewTurns(n int) func(weight int64) Turn {
	all := newTurns(n)
	return func(weight int64) Turn {
		return Turn{all.of(func() time.Duration { return time.Duration(weight) * time.Second })}
	}
}

func (t Turn) Take() { t.t.take() }
func (t Turn) Give() { t.t.give() }
func (t Turn) Pass() { t.t.pass() }

// Waits tells how many stages wait for a turn.
func (t Turn) Waits() int {
	t.t.all.mu.Lock()
	defer t.t.all.mu.Unlock()
	return len(t.t.all.waiting)
}

// Decompress returns what a layer's blob decompresses to, and the digest that is
// made of it on the way.
func Decompress(src io.Reader) (data []byte, sum digest.Digest, err error) {
	q := &hashed{newQueue(&sync.Pool{}), newSum(multibuffer.New(), digest.SHA256)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := decompress(src, q, maxDecoders)
		q.end(err)
	}()
	data, err = io.ReadAll(q)
	q.stop(err)
	<-done
	sum = q.sum.digest()
	q.recycle()
	return data, sum, err
}

// Of is what a layer of size compressed bytes may become, and the setting that
// says so.
func (b Bounds) Of(size int64) (int64, string) {
	most := b.of(size)
	return most.bytes, most.key
}
