package display

import (
	"cmp"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// item is an event, or a log line if line is set.
type item struct {
	seq   int
	event progress.Event
	line  *string
}

// subject is what a progress event is about: it supersedes earlier ones of the
// same subject.
type subject struct {
	kind    progress.Kind
	ref     string
	digest  digest.Digest
	chainID digest.Digest
}

func subjectOf(e progress.Event) subject {
	return subject{e.Kind, e.Ref, e.Digest, e.ChainID}
}

// isSuperseded reports whether a later event of the same subject holds everything
// that e does.
func isSuperseded(e progress.Event) bool {
	return e.Kind == progress.FetchProgress || e.Kind == progress.UnpackProgress || e.Kind == progress.VerifyProgress
}

// queue holds what the display has not taken yet. Putting never waits for the
// display: of the progress of one blob only the newest is kept, so that the
// queue stays small however slow the reader of the display is.
type queue struct {
	wake chan struct{} // holds a token when there may be something to take

	mu     sync.Mutex
	seq    int
	items  []item
	latest map[subject]item
	closed bool
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), latest: map[subject]item{}}
}

// put adds it, and reports whether the queue was open.
func (q *queue) put(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.seq++
	it.seq = q.seq
	if it.line == nil && isSuperseded(it.event) {
		q.latest[subjectOf(it.event)] = it
	} else {
		q.items = append(q.items, it)
	}
	q.rouse()
	return true
}

// rouse has the reader look for something to take.
func (q *queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take empties the queue and returns its items in the order in which they came.
func (q *queue) take() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	for _, it := range q.latest {
		items = append(items, it)
	}
	q.items = nil
	clear(q.latest)
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.seq, b.seq) })
	return items
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
