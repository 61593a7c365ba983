package unpack

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestHeaviestDownloadFirst: of the layers that wait, that which is waited for longest
// is fetched next, and one that gives up leaves its right to another.
func TestHeaviestDownloadFirst(t *testing.T) {
	all := downloads{free: 1}
	weigh := func(n int) func() time.Duration { return func() time.Duration { return time.Duration(n) } }
	if err := all.acquire(t.Context(), weigh(1)); err != nil {
		t.Fatal(err)
	}
	var queued []*download
	for _, n := range []int{2, 5, 3, 5} {
		queued = append(queued, all.queue(weigh(n)))
	}
	all.leave(queued[1]) // waits no more
	given := func(i int) bool {
		select {
		case <-queued[i].ready:
			return true
		default:
			return false
		}
	}
	for _, i := range []int{3, 2, 0} {
		if given(i) {
			t.Errorf("got layer %d fetched too early", i)
		}
		all.release()
		if !given(i) {
			t.Errorf("got layer %d not fetched", i)
		}
	}
	enough := errors.New("enough")
	ctx, end := context.WithCancelCause(t.Context())
	end(enough)
	if err := all.acquire(ctx, weigh(9)); !errors.Is(err, enough) {
		t.Errorf("got %v while all rights are in use, want the cause of the end", err)
	}
	next := all.queue(weigh(1))
	late := all.queue(weigh(2))
	all.release()
	all.leave(late) // it has just been given the right
	if <-next.ready; all.free != 0 {
		t.Errorf("got %d rights free, want none", all.free)
	}
	all.release()
	if all.free != 1 || len(all.waiting) != 0 {
		t.Errorf("got %d rights free and %d waiting, want 1 and none", all.free, len(all.waiting))
	}
}
