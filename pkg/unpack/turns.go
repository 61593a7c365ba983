package unpack

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turns decides which stages of which layers work when more are ready than may:
// those that the pull would wait for longest. Whoever waits, for bytes or for
// room, lets others work meanwhile. So a slow network keeps no core idle, and
// with a fast one all layers end in time for what follows them.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []*turn // in the order in which they came
}

func newTurns(n int) *turns { return &turns{free: n} }

// slack keeps two stages of about the same weight from changing places all the
// time.
const slack = 20 * time.Millisecond

// of returns a turn. Its weight is what the pull still has to do, from this
// stage on.
func (all *turns) of(weight func() time.Duration) *turn {
	return &turn{all: all, weight: weight, ready: make(chan struct{}, 1)}
}

// turn is one stage's right to work. It belongs to one goroutine. A nil turn is
// a right that need not be asked for.
type turn struct {
	all    *turns
	weight func() time.Duration
	ready  chan struct{}
	waited time.Duration
	since  time.Time    // it is at work, and this counted up to here
	worked atomic.Int64 // nanoseconds
}

// take waits until the stage may work.
func (t *turn) take() {
	if t == nil {
		return
	}
	if !t.all.taken(t) {
		t.wait()
	}
	t.since = time.Now()
}

func (t *turn) wait() {
	since := time.Now()
	<-t.ready
	t.since = time.Now()
	t.waited += t.since.Sub(since)
}

// count adds what was worked since the last time.
func (t *turn) count() {
	now := time.Now()
	t.worked.Add(int64(now.Sub(t.since)))
	t.since = now
}

// taken takes a right that is free, or puts t in the queue.
func (all *turns) taken(t *turn) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.free > 0 {
		all.free--
		return true
	}
	all.waiting = append(all.waiting, t)
	return false
}

// give lets the next stage work.
func (t *turn) give() {
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

// heaviest of those that wait; -1 is none.
func (all *turns) heaviest() (index int, weight time.Duration) {
	index = -1
	for i, t := range all.waiting {
		if w := t.weight(); index < 0 || w > weight {
			index, weight = i, w
		}
	}
	return index, weight
}

// call lets a stage work that waits.
func (all *turns) call(i int) {
	next := all.waiting[i]
	all.waiting = slices.Delete(all.waiting, i, i+1)
	next.ready <- struct{}{}
}

// pass lets a stage of more weight work first, if one waits.
func (t *turn) pass() {
	if t == nil {
		return
	}
	t.count()
	if t.all.passed(t) {
		t.wait()
	}
}

// passed gives the right of t to a heavier stage, and puts t in the queue before
// anybody can be done.
func (all *turns) passed(t *turn) bool {
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

// load is the work that a layer is, as far as can be told.
type load struct {
	size   int64         // of the blob
	behind time.Duration // to commit it, and the layers above
	read   atomic.Int64  // bytes of the blob, by the inflater
	stages []*turn       // of the layer, if it has begun
}

// To unpack a byte of a blob takes between 8 ns in large files and 40 in small
// ones. What nothing is known of is taken for the worse until some of it has been
// tried, or the pull could end with one layer that nobody expected to take long.
const (
	guess = 30 // ns
	trial = 256 << 10
)

// left is how long the pull still takes from this layer on, if nothing waits:
// what the slower stage has to do, and the commits.
func (l *load) left() time.Duration {
	var worked int64
	for _, t := range l.stages {
		worked = max(worked, t.worked.Load())
	}
	read := l.read.Load()
	perByte := float64(worked+guess*trial) / float64(read+trial)
	return time.Duration(perByte*float64(l.size-read)) + l.behind
}

// first is left, for a stage that goes before the others of its layer.
func (l *load) first() time.Duration { return l.left() + slack + 1 }

// begin makes the turns of a layer's stages, which are at its first byte.
func (l *load) begin(all *turns) (inflates, applies *turn) {
	inflates, applies = all.of(l.left), all.of(l.first) // what is inflated goes first
	l.read.Store(0)
	l.stages = []*turn{inflates, applies}
	return inflates, applies
}

// reader counts what is read of a layer.
type reader struct {
	io.Reader
	load *load
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.load.read.Add(int64(n))
	return n, err
}
