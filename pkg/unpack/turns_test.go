package unpack_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// TestTurnsAreBounded whatever the stages do in between.
func TestTurnsAreBounded(t *testing.T) {
	const most, stages, rounds = 3, 20, 200
	var working, over atomic.Int64
	turn := unpack.NewTurns(most)
	enter := func() {
		if working.Add(1) > most {
			over.Add(1)
		}
	}
	var wg sync.WaitGroup
	for i := range stages {
		wg.Go(func() {
			mine := turn(int64(i % 4))
			for round := range rounds {
				mine.Take()
				enter()
				working.Add(-1)
				if round%3 == 0 {
					mine.Pass()
					enter()
					working.Add(-1)
				}
				mine.Give()
			}
		})
	}
	wg.Wait()
	if n := over.Load(); n > 0 {
		t.Errorf("got more than %d stages at work %d times", most, n)
	}
	if last := turn(0); last.Waits() != 0 {
		t.Errorf("got %d stages that wait when all have ended", last.Waits())
	}
}

// queued lets stages of these weights wait for the turn of holder, one after the
// other, and returns the order in which they get theirs.
func queued(holder unpack.Turn, turn func(int64) unpack.Turn, weights []int64) (order chan int64) {
	order = make(chan int64, len(weights)+1)
	for i, weight := range weights {
		go func() {
			mine := turn(weight)
			mine.Take()
			order <- weight
			mine.Give()
		}()
		for holder.Waits() <= i {
			time.Sleep(time.Millisecond)
		}
	}
	return order
}

// TestTurnsGoByWeight and not by who came first.
func TestTurnsGoByWeight(t *testing.T) {
	turn := unpack.NewTurns(1)
	holder := turn(0)
	holder.Take()
	order := queued(holder, turn, []int64{2, 9, 1, 9, 5})
	holder.Give()
	var got []int64
	for range 5 {
		got = append(got, <-order)
	}
	if diff := cmp.Diff([]int64{9, 9, 5, 2, 1}, got); diff != "" {
		t.Errorf("order differs (-want +got):\n%s", diff)
	}
}

// TestPass lets the heavier go first, and nobody else.
func TestPass(t *testing.T) {
	turn := unpack.NewTurns(1)
	holder := turn(5)
	holder.Take()
	order := queued(holder, turn, []int64{3, 8, 5})
	holder.Pass()
	order <- 0 // the holder is back
	holder.Give()
	var got []int64
	for range 4 {
		got = append(got, <-order)
	}
	if diff := cmp.Diff([]int64{8, 5, 0, 3}, got); diff != "" {
		t.Errorf("order differs, where 0 is the holder (-want +got):\n%s", diff)
	}
}

// TestLoad guesses what a layer takes until some of it was seen.
func TestLoad(t *testing.T) {
	const mib = 1 << 20
	fast, slow := 8*time.Nanosecond, 40*time.Nanosecond
	seen := func(size, read int64, perByte time.Duration) time.Duration {
		return unpack.Left(size, read, time.Duration(read)*perByte, 0)
	}
	if unseen := unpack.Left(50*mib, 0, 0, 0); unseen <= seen(50*mib, mib, fast) || unseen >= seen(60*mib, mib, slow) {
		t.Errorf("got %v for a layer of which nothing is known, want more than for a fast one and less than for a slow one", unseen)
	}
	if large, small := seen(300*mib, 10*mib, fast), seen(110*mib, 4*mib, slow); large >= small {
		t.Errorf("got %v for a large and fast layer, want less than the %v for a small and slow one", large, small)
	}
	if got, want := seen(100*mib, 60*mib, fast), 40*mib*fast; got < want || got > want*11/10 {
		t.Errorf("got %v for what is left of a layer, want about %v", got, want)
	}
	if got := unpack.Left(mib, mib, time.Second, time.Minute); got != time.Minute {
		t.Errorf("got %v for a layer that is read, want what is behind it", got)
	}
}
