package pipeline

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turns decides which stages of which layers work when more are ready than may:
// those that the pull would wait for longest. A stage that waits, for bytes or
// for room, lets others work meanwhile. So a slow network keeps no core idle, and
// with a fast one all layers end in time for what follows them.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []*Turn // in the order in which they came
}

func newTurns(n int) *turns { return &turns{free: n} }

// slack keeps two stages of about the same weight from changing places all the
// time.
const slack = 20 * time.Millisecond

// of returns a turn. Its weight is how long the pull still takes, from this
// stage on.
func (all *turns) of(weight func() time.Duration) *Turn {
	return &Turn{all: all, weight: weight, ready: make(chan struct{}, 1)}
}

// Turn is one stage's right to work. It belongs to one goroutine. A nil Turn is
// a right that need not be asked for.
type Turn struct {
	all    *turns
	weight func() time.Duration
	ready  chan struct{}
	waited time.Duration
	since  time.Time    // up to here its work is counted, while it works
	worked atomic.Int64 // nanoseconds
}

// Take waits until the stage may work.
func (t *Turn) Take() {
	if t == nil {
		return
	}
	if !t.all.taken(t) {
		t.wait()
	}
	t.since = time.Now()
}

func (t *Turn) wait() {
	since := time.Now()
	<-t.ready
	t.since = time.Now()
	t.waited += t.since.Sub(since)
}

// count adds what was worked since the last time.
func (t *Turn) count() {
	now := time.Now()
	t.worked.Add(int64(now.Sub(t.since)))
	t.since = now
}

// taken reports whether a right was free, which it takes; otherwise it puts t in
// the queue.
func (all *turns) taken(t *Turn) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.free > 0 {
		all.free--
		return true
	}
	all.waiting = append(all.waiting, t)
	return false
}

// Give ends the stage's work and lets the next one work.
func (t *Turn) Give() {
	if t == nil {
		return
	}
	t.count()
	t.all.mu.Lock()
	defer t.all.mu.Unlock()
	if i, _ := t.all.heaviest(); i >= 0 {
		t.all.call(i)
	} else {
		t.all.free++
	}
}

// heaviest returns which of those that wait has the greatest weight; -1 is none.
func (all *turns) heaviest() (index int, weight time.Duration) {
	index = -1
	for i, t := range all.waiting {
		if w := t.weight(); index < 0 || w > weight {
			index, weight = i, w
		}
	}
	return index, weight
}

// call lets the stage work that waits at index i.
func (all *turns) call(i int) {
	next := all.waiting[i]
	all.waiting = slices.Delete(all.waiting, i, i+1)
	next.ready <- struct{}{}
}

// Pass lets a stage of more weight work first, if one waits.
func (t *Turn) Pass() {
	if t == nil {
		return
	}
	t.count()
	if t.all.passed(t) {
		t.wait()
	}
}

// passed gives the right of t to a heavier stage and reports whether there was
// one. t is in the queue before that stage can be done.
func (all *turns) passed(t *Turn) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	i, weight := all.heaviest()
	if i < 0 || weight <= t.weight()+slack {
		return false
	}
	all.call(i)
	all.waiting = append(all.waiting, t)
	return true
}
