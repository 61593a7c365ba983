package unpack_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// noise are n bytes that do not repeat.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(p) // never fails
	return p
}

// TestQueuePasses bytes in order, in whatever portions they come and go.
func TestQueuePasses(t *testing.T) {
	data := noise(3*unpack.BufferSize*unpack.Buffers + 17)
	for _, portion := range []int{1000, unpack.BufferSize, unpack.BufferSize + 1, len(data)} {
		q := unpack.NewQueue()
		go func() {
			for rest := data; len(rest) > 0; {
				n := min(portion, len(rest))
				if _, err := q.Write(rest[:n]); err != nil {
					t.Errorf("writing: %v", err)
				}
				rest = rest[n:]
			}
			q.End(nil)
		}()
		got, err := io.ReadAll(iotest.HalfReader(q))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("portions of %d: got %d bytes and %v, want the %d written", portion, len(got), err, len(data))
		}
		q.Recycle()
	}
}

// TestQueueEnds with the writer's error, behind everything that was written.
func TestQueueEnds(t *testing.T) {
	cut := errors.New("the connection was cut")
	q := unpack.NewQueue()
	if _, err := q.Write([]byte("so far")); err != nil {
		t.Fatal(err)
	}
	q.End(cut)
	got, err := io.ReadAll(q)
	if string(got) != "so far" || !errors.Is(err, cut) {
		t.Errorf("got %q and %v, want what was written and then %v", got, err, cut)
	}
	if _, err := q.Read(make([]byte, 1)); !errors.Is(err, cut) {
		t.Errorf("got %v from another read, want %v again", err, cut)
	}
	q.Recycle()
}

// TestQueueStops a writer that waits, with the reader's error.
func TestQueueStops(t *testing.T) {
	full := errors.New("the disk is full")
	for stop, want := range map[error]error{full: full, nil: io.ErrClosedPipe} {
		q := unpack.NewQueue()
		done := make(chan error)
		go func() {
			_, err := q.Write(noise(2 * unpack.BufferSize * unpack.Buffers))
			q.End(err)
			done <- err
		}()
		if _, err := io.ReadFull(q, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // for the writer to fill the queue and wait
		q.Stop(stop)
		if err := <-done; !errors.Is(err, want) {
			t.Errorf("got %v from the writer after a stop with %v, want %v", err, stop, want)
		}
		q.Recycle()
	}
}

// TestQueueStopsAtOnce even if there is room.
func TestQueueStopsAtOnce(t *testing.T) {
	q := unpack.NewQueue()
	q.Stop(nil)
	if n, err := q.Write([]byte("x")); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %d and %v, want a closed pipe", n, err)
	}
	q.End(nil)
	q.Recycle()
}

// TestQueueEndsFromBothSides at random moments, for the race detector.
func TestQueueEndsFromBothSides(t *testing.T) {
	for range 200 {
		q := unpack.NewQueue()
		written := make(chan struct{})
		go func() {
			defer close(written)
			for range rand.IntN(3 * unpack.Buffers) {
				if _, err := q.Write(make([]byte, 1+rand.IntN(unpack.BufferSize))); err != nil {
					q.End(err)
					return
				}
			}
			q.End(nil)
		}()
		_, err := io.CopyN(io.Discard, q, int64(rand.IntN(unpack.BufferSize*unpack.Buffers)))
		if err != nil && err != io.EOF {
			t.Errorf("got %v, want bytes or the end", err)
		}
		q.Stop(nil)
		<-written
		q.Recycle()
	}
}

// TestQueueLull lets the reader do other work only when there is nothing to read.
func TestQueueLull(t *testing.T) {
	q := unpack.NewQueue()
	did := 0
	q.Lull(func() bool {
		did++
		if did == 3 {
			go q.End(nil)
		}
		return did < 3
	})
	if _, err := q.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(q, make([]byte, 5)); err != nil || did != 0 {
		t.Errorf("got %v and other work %d times, want what is there", err, did)
	}
	if n, err := q.Read(make([]byte, 1)); n != 0 || err != io.EOF || did != 3 {
		t.Errorf("got %d bytes, %v and other work %d times, want the end after 3", n, err, did)
	}
	q.Recycle()
}
