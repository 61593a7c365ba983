package pipeline

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

const (
	queueBuffers = 4
	bufferSize   = inflate.BufferSize
)

// queue passes bytes from one goroutine, the writer, to another, the reader,
// through a few buffers: a full one belongs to the reader until it has read it,
// a free one to the writer. Either side may end it; the other then gets its
// error.
type queue struct {
	full chan chunk
	free chan []byte
	pool *sync.Pool
	made int // buffers taken from the pool; only the writer counts

	cur     chunk // being read
	stopped chan struct{}
	stopErr error // why the reader stopped
	endErr  error // why the writer ended; io.EOF when it is done

	// writerTurn and readerTurn are given up while that side waits for the other,
	// and passed on between buffers. They may be nil.
	writerTurn, readerTurn *Turn

	// lull is work that the reader may do instead of waiting; it returns false if
	// there is none. It may be nil.
	lull func() bool

	// writerIdle and readerIdle are how long each side waited for the other.
	writerIdle, readerIdle time.Duration
}

// chunk is data within the buffer that it came in.
type chunk struct {
	data, buf []byte
	users     *atomic.Int32 // how many still use it; nil stands for the reader alone
}

func newQueue(pool *sync.Pool) *queue {
	return &queue{
		full:    make(chan chunk, queueBuffers),
		free:    make(chan []byte, queueBuffers),
		pool:    pool,
		stopped: make(chan struct{}),
	}
}

// buffer returns a free buffer to the writer, waiting for the reader if it must.
func (q *queue) buffer() ([]byte, error) {
	q.writerTurn.Pass()
	select {
	case <-q.stopped:
		return nil, q.stopErr
	case buf := <-q.free:
		return buf, nil
	default:
	}
	if q.made < queueBuffers {
		q.made++
		if buf, ok := q.pool.Get().(*[bufferSize]byte); ok {
			return buf[:], nil
		}
		return make([]byte, bufferSize), nil
	}
	since := time.Now()
	q.writerTurn.Give()
	defer func() {
		q.writerIdle += time.Since(since)
		q.writerTurn.Take()
	}()
	select {
	case <-q.stopped:
		return nil, q.stopErr
	case buf := <-q.free:
		return buf, nil
	}
}

// send passes data, a part of buf, to the reader. There is always room: no
// more buffers exist than full can hold.
func (q *queue) send(data, buf []byte) { q.full <- chunk{data: data, buf: buf} }

// share is send for data that is read elsewhere as well, which done ends.
func (q *queue) share(data, buf []byte) (done func()) {
	c := chunk{data, buf, new(atomic.Int32)}
	c.users.Store(2)
	q.full <- c
	return func() { q.release(c) }
}

// release frees the buffer of c after its last use.
func (q *queue) release(c chunk) {
	if c.users == nil || c.users.Add(-1) == 0 {
		q.free <- c.buf
	}
}

// Write implements io.Writer for a writer that has no buffers of its own.
func (q *queue) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		buf, err := q.buffer()
		if err != nil {
			return len(p) - len(rest), err
		}
		n := copy(buf, rest)
		q.send(buf[:n], buf)
		rest = rest[n:]
	}
	return len(p), nil
}

// end makes the reader see err after the last chunk. A nil error is io.EOF. It
// is called once.
func (q *queue) end(err error) {
	if err == nil {
		err = io.EOF
	}
	q.endErr = err
	close(q.full)
}

// stop makes the writer see err, since the reader takes no more. It is called
// once.
func (q *queue) stop(err error) {
	if err == nil {
		err = io.ErrClosedPipe
	}
	q.stopErr = err
	close(q.stopped)
}

// next returns what is left of the current chunk or the next one, valid until
// the next call.
func (q *queue) next() ([]byte, error) {
	if len(q.cur.data) > 0 {
		return q.cur.data, nil
	}
	if q.cur.buf != nil {
		q.release(q.cur)
		q.cur = chunk{}
	}
	c, ok := q.receive()
	if !ok {
		return nil, q.endErr
	}
	q.cur = c
	return c.data, nil
}

func (q *queue) receive() (chunk, bool) {
	q.readerTurn.Pass()
	for {
		select {
		case c, ok := <-q.full:
			return c, ok
		default:
		}
		if q.lull == nil || !q.lull() {
			break
		}
	}
	since := time.Now()
	q.readerTurn.Give()
	defer func() {
		q.readerIdle += time.Since(since)
		q.readerTurn.Take()
	}()
	c, ok := <-q.full
	return c, ok
}

// Read implements io.Reader.
func (q *queue) Read(p []byte) (int, error) {
	data, err := q.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, data)
	q.cur.data = data[n:]
	return n, nil
}

// isChunkRead reports whether nothing is left of the current chunk.
func (q *queue) isChunkRead() bool { return len(q.cur.data) == 0 }

func (q *queue) readBy(t *Turn) { q.readerTurn = t }

func (q *queue) Idle() time.Duration { return q.writerIdle }

func (q *queue) idleReader() time.Duration { return q.readerIdle }

// recycle returns the buffers to the pool. Neither the queue nor what it shared
// may be in use any more.
func (q *queue) recycle() {
	if q.cur.buf != nil {
		q.release(q.cur)
	}
	for c := range q.full {
		q.release(c)
	}
	for {
		select {
		case buf := <-q.free:
			q.pool.Put((*[bufferSize]byte)(buf))
		default:
			return
		}
	}
}
