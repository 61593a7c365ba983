package pipeline_test

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

// turns lets n stages work at once, and returns what makes their turns, of
// weights in seconds.
func turns(n int) func(weight int) *pipeline.Turn {
	p := pipeline.New(n, multibuffer.New())
	return func(weight int) *pipeline.Turn {
		return p.Turn(pipeline.NewLoad(0, time.Duration(weight)*time.Second))
	}
}

// TestTurnsAreBounded whatever the stages do in between.
func TestTurnsAreBounded(t *testing.T) {
	const most, stages, rounds = 3, 20, 200
	var working, over atomic.Int64
	turn := turns(most)
	enter := func() {
		if working.Add(1) > most {
			over.Add(1)
		}
	}
	var wg sync.WaitGroup
	for i := range stages {
		wg.Go(func() {
			mine := turn(i % 4)
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
	for range most { // none is lost: this would wait for ever
		turn(0).Take()
	}
}

// queued lets stages of these weights wait for a turn, one after the other, and
// returns the order in which they get theirs.
func queued(turn func(int) *pipeline.Turn, weights ...int) (order chan int) {
	order = make(chan int, len(weights)+1)
	for _, weight := range weights {
		go func() {
			mine := turn(weight)
			mine.Take()
			order <- weight
			mine.Give()
		}()
		synctest.Wait() // for it to wait
	}
	return order
}

func received(order chan int) (got []int) {
	synctest.Wait()
	for len(order) > 0 {
		got = append(got, <-order)
	}
	return got
}

// TestTurnsGoByWeight and not by who came first.
func TestTurnsGoByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := turns(1)
		holder := turn(0)
		holder.Take()
		order := queued(turn, 2, 9, 1, 9, 5)
		holder.Give()
		if diff := cmp.Diff([]int{9, 9, 5, 2, 1}, received(order)); diff != "" {
			t.Errorf("order differs (-want +got):\n%s", diff)
		}
	})
}

// TestPass lets the heavier go first, and no others.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := turns(1)
		holder := turn(5)
		holder.Take()
		order := queued(turn, 3, 8, 5)
		holder.Pass()
		order <- 0 // the holder is back
		holder.Give()
		if diff := cmp.Diff([]int{8, 5, 0, 3}, received(order)); diff != "" {
			t.Errorf("order differs, where 0 is the holder (-want +got):\n%s", diff)
		}
	})
}

// left is how long a layer of size bytes is thought to take when read bytes of
// it have been inflated, each of which took some time.
func left(t *testing.T, size, read int64, perByte, behind time.Duration) (left time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := layer()
		l.Load = pipeline.NewLoad(size, behind)
		src := &measured{left: read, perByte: perByte, then: func() { left = l.Load.Left() }}
		if _, err := pipeline.New(2, multibuffer.New()).Run(src, l, func(plain *pipeline.Plain) error {
			_, err := io.Copy(io.Discard, plain)
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	return left
}

// measured is a source of zeros that works for some time on each byte and calls
// then at its end.
type measured struct {
	left    int64
	perByte time.Duration
	then    func()
}

func (m *measured) Read(p []byte) (int, error) {
	if m.left == 0 {
		m.then()
		return 0, io.EOF
	}
	n := min(int64(len(p)), m.left)
	m.left -= n
	time.Sleep(time.Duration(n) * m.perByte)
	return int(n), nil
}

// TestLoad guesses what a layer takes until some of it was seen.
func TestLoad(t *testing.T) {
	const mib = 1 << 20
	const fast, slow = 8 * time.Nanosecond, 40 * time.Nanosecond
	if unseen := pipeline.NewLoad(50*mib, 0).Left(); unseen <= left(t, 50*mib, mib, fast, 0) || unseen >= left(t, 60*mib, mib, slow, 0) {
		t.Errorf("got %v for a layer of which nothing is known, want more than for a fast one and less than for a slow one", unseen)
	}
	if large, small := left(t, 300*mib, 10*mib, fast, 0), left(t, 110*mib, 4*mib, slow, 0); large >= small {
		t.Errorf("got %v for a large and fast layer, want less than the %v for a small and slow one", large, small)
	}
	if got, want := left(t, 40*mib, 20*mib, fast, 0), 20*mib*fast; got < want || got > want*11/10 {
		t.Errorf("got %v for what is left of a layer, want about %v", got, want)
	}
	if got := left(t, mib, mib, time.Microsecond, time.Minute); got != time.Minute {
		t.Errorf("got %v for a layer that is read, want what is behind it", got)
	}
}
