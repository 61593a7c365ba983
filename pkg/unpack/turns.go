package unpack

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// turns decides which stages of which layers work when more are ready than may:
// those of the layer with the greatest weight. Whoever waits, for bytes or for
// room, lets others work meanwhile. So a slow network keeps no core idle, and
// with a fast one the cores do first what the pull would otherwise wait for at
// its end.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []*turn // the greatest weight first
}

func newTurns(n int) *turns { return &turns{free: n} }

func (all *turns) of(weight int64) *turn {
	return &turn{all: all, weight: weight, ready: make(chan struct{}, 1)}
}

// turn is one stage's right to work. It belongs to one goroutine. A nil turn is
// a right that need not be asked for.
type turn struct {
	all    *turns
	weight int64
	ready  chan struct{}
	waited time.Duration
}

// take waits until the stage may work.
func (t *turn) take() {
	if t == nil || t.all.taken(t) {
		return
	}
	t.wait()
}

func (t *turn) wait() {
	since := time.Now()
	<-t.ready
	t.waited += time.Since(since)
}

// taken takes a right that is free, or puts t in the queue.
func (all *turns) taken(t *turn) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.free > 0 {
		all.free--
		return true
	}
	all.enqueue(t)
	return false
}

func (all *turns) enqueue(t *turn) {
	i, _ := slices.BinarySearchFunc(all.waiting, t, func(a, b *turn) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), -1) // behind its equals
	})
	all.waiting = slices.Insert(all.waiting, i, t)
}

// give lets the next stage work.
func (t *turn) give() {
	if t == nil {
		return
	}
	t.all.mu.Lock()
	defer t.all.mu.Unlock()
	t.all.next()
}

func (all *turns) next() {
	if len(all.waiting) == 0 {
		all.free++
		return
	}
	next := all.waiting[0]
	all.waiting = slices.Delete(all.waiting, 0, 1)
	next.ready <- struct{}{}
}

// pass lets a stage of more weight work first, if one waits.
func (t *turn) pass() {
	if t != nil && t.all.passed(t) {
		t.wait()
	}
}

// passed gives the right of t to a heavier stage, and puts t in the queue before
// anybody can be done.
func (all *turns) passed(t *turn) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.waiting) == 0 || all.waiting[0].weight <= t.weight {
		return false
	}
	all.next()
	all.enqueue(t)
	return true
}
