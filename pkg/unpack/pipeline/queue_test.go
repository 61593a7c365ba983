package pipeline

import (
	"io"
	"sync"
	"testing"
)

// TestQueueLull lets the reader do other work only when there is nothing to
// read. It is a test from inside since that work, hashing, leaves no trace.
func TestQueueLull(t *testing.T) {
	q := newQueue(&sync.Pool{})
	did := 0
	q.lull = func() bool {
		did++
		if did == 3 {
			go q.end(nil)
		}
		return did < 3
	}
	if _, err := q.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(q, make([]byte, 5)); err != nil || did != 0 {
		t.Errorf("got %v and other work %d times, want what is there", err, did)
	}
	if n, err := q.Read(make([]byte, 1)); n != 0 || err != io.EOF || did != 3 {
		t.Errorf("got %d bytes, %v and other work %d times, want the end after 3", n, err, did)
	}
	q.recycle()
}
