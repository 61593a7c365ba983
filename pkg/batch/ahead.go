package batch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

const (
	// aheadAtOnce is how many references are resolved at once. The registry
	// client bounds what that is for each host.
	aheadAtOnce = 32
	// maxAhead bounds the bytes of documents that wait in memory for their turn.
	maxAhead = 64 << 20
)

// task is a job on its way.
type task struct {
	Job
	place  int // among the jobs
	use    use // of its store
	puller pull.Puller
	req    pull.Request
	// ready is nil until the job is prepared. Where that is not done ahead, it is
	// done when the job has its turn.
	ready *pull.Ready
	ahead int64 // bytes of documents of a job that was prepared ahead
	// waits is set if an earlier job is about the same name: what is to be done
	// depends on the record that it writes.
	waits  bool
	result *pull.Result
	// outlook and hosts are what is found out instead of a pull.
	outlook *pull.Outlook
	hosts   []Host
	err     error
	// namespace and snapshotter of its store, empty if it was not opened.
	namespace, snapshotter string
}

// tasks returns a task for each job, with the parts that need no store.
func (b *Batch) tasks() []*task {
	all := make([]*task, len(b.Jobs))
	names := map[string]bool{}
	for i, j := range b.Jobs {
		all[i] = &task{Job: j, place: i, waits: names[j.Ref.Name]}
		switch {
		case j.onlyLooks():
			all[i].use = toLook
		case b.looking:
			all[i].use = toForesee
		}
		all[i].err = b.equip(all[i])
		names[j.Ref.Name] = true
	}
	return all
}

func (b *Batch) equip(t *task) error {
	reg, err := b.Parts.Registry(t.Config)
	if err != nil {
		return err
	}
	verifier, err := trust.New(t.Config.Verify)
	if err != nil {
		return &ConfigError{err}
	}
	t.puller = pull.Puller{Source: reg, Verifier: verifier, Progress: b.Parts.Progress, Limits: t.Config.Limits}
	t.req = t.Config.Request
	if t.req.Ref, err = t.Config.Verify.Pin(t.Ref); err != nil {
		return &ConfigError{err}
	}
	return nil
}

// open opens the store of t, which is that of the task before if they have the same.
func (b *Batch) open(ctx context.Context, t *task) error {
	st, err := b.Parts.open(ctx, place{t.Config.Store, t.use})
	if err != nil {
		return err
	}
	t.puller.Store, t.namespace, t.snapshotter = st, st.Namespace, st.Name
	return nil
}

// line is where tasks wait for their turn.
type line struct {
	prepared chan *task // has room for all
	coming   int        // how many will be sent there
	waiting  []*task
	running  sync.WaitGroup // preparations
	held     atomic.Int64   // bytes of documents
}

// prepareAll begins to prepare all tasks. It returns while that goes on, unless
// there are several stores, of which one is open at a time, or a failure is to end
// everything. The error is that of the store of the first task.
func (b *Batch) prepareAll(ctx context.Context, tasks []*task) (*line, error) {
	l := &line{prepared: make(chan *task, len(tasks)), coming: len(tasks)}
	places := placesOf(tasks)
	for i, same := range places {
		err := b.open(ctx, same[0])
		if err != nil && i == 0 {
			return nil, err
		}
		slots := make(chan struct{}, aheadAtOnce)
		for _, t := range same {
			t.err = cmp.Or(t.err, err)
			t.puller.Store, t.namespace, t.snapshotter = same[0].puller.Store, same[0].namespace, same[0].snapshotter
			l.running.Go(func() {
				slots <- struct{}{}
				b.prepare(ctx, l, t)
				<-slots
				l.prepared <- t
			})
		}
		if len(places) > 1 || b.FailFast {
			l.running.Wait()
		}
	}
	return l, nil
}

// placesOf groups tasks by their stores, those of the first task first.
func placesOf(tasks []*task) (places [][]*task) {
	index := map[place]int{}
	for _, t := range tasks {
		at := place{t.Config.Store, t.use}
		i, known := index[at]
		if !known {
			i = len(places)
			index[at], places = i, append(places, nil)
		}
		places[i] = append(places[i], t)
	}
	return places
}

// prepare prepares t ahead of its turn, if that may be, and reports its failure.
func (b *Batch) prepare(ctx context.Context, l *line, t *task) {
	switch {
	case t.err != nil || t.waits:
	case b.looking:
		t.err = b.foresee(ctx, t)
	default:
		t.ready, t.err = t.puller.Prepare(ctx, t.req)
	}
	switch {
	case t.err != nil:
		b.report(ctx, t.Ref.Name, t.err)
	case t.ready != nil:
		t.ahead = t.ready.Held()
		if all := l.held.Add(t.ahead); all > maxAhead && all > t.ahead {
			l.held.Add(-t.ahead)
			t.ready, t.ahead = nil, 0
		}
	}
}

// next returns the task whose turn it is, of those that are prepared.
func (l *line) next() *task {
	for l.coming > 0 {
		if len(l.waiting) == 0 || l.waiting[0].turn() == turnAgain {
			l.add(<-l.prepared)
			continue
		}
		select {
		case t := <-l.prepared:
			l.add(t)
			continue
		default:
		}
		break
	}
	t := l.waiting[0]
	l.waiting = l.waiting[1:]
	return t
}

func (l *line) add(t *task) {
	l.coming--
	l.waiting = append(l.waiting, t)
	slices.SortFunc(l.waiting, func(a, b *task) int { return cmp.Or(cmp.Compare(a.turn(), b.turn()), a.place-b.place) })
}

// In what order tasks have their turns. Those of one kind keep that of the jobs.
const (
	turnFailed = iota
	turnWhole  // takes no time
	turnPull
	turnAgain // another job of the same name, after all others
)

func (t *task) turn() int {
	switch {
	case t.err != nil:
		return turnFailed
	case t.waits:
		return turnAgain
	case t.ready != nil && t.ready.Whole:
		return turnWhole
	}
	return turnPull
}

// pullAll resolves all references at once and pulls the images, one at a time.
func (b *Batch) pullAll(ctx context.Context) error {
	tasks := b.tasks()
	l, err := (*line)(nil), tasks[0].err
	if err == nil {
		l, err = b.prepareAll(ctx, tasks)
	}
	if err != nil {
		b.report(ctx, tasks[0].Ref.Name, err)
		b.leave(tasks, err)
		return err
	}
	return b.takeTurns(ctx, l, tasks)
}

// takeTurns pulls the images as they have their turns.
func (b *Batch) takeTurns(ctx context.Context, l *line, tasks []*task) error {
	var last error
	for range tasks {
		t := l.next()
		b.pull(ctx, l, t)
		b.record(t)
		if t.err == nil {
			continue
		}
		last = t.err
		if ctx.Err() != nil {
			l.running.Wait()
			last = store.WithCause(ctx, last)
			b.leave(tasks, last)
			return last
		}
		if b.FailFast {
			b.leave(tasks, fmt.Errorf("not tried, because that of %s failed: %w", t.Ref.Name, last))
			break
		}
	}
	if last != nil && len(tasks) > 1 {
		return &PartialError{b.failed(), len(tasks)}
	}
	return last
}

// leave gives every task that has no outcome yet its own error, or else err.
func (b *Batch) leave(tasks []*task, err error) {
	for _, t := range tasks {
		if b.outcomes[t.place].Config == nil {
			t.err = cmp.Or(t.err, err)
			b.record(t)
		}
	}
}

// pull pulls the image of t, unless its preparation failed, and reports a failure.
func (b *Batch) pull(ctx context.Context, l *line, t *task) {
	if t.err != nil || t.outlook != nil {
		return
	}
	if t.result, t.err = b.finish(ctx, t); t.err != nil {
		b.report(ctx, t.Ref.Name, t.err)
	}
	l.held.Add(-t.ahead)
	t.ready = nil
}

func (b *Batch) finish(ctx context.Context, t *task) (*pull.Result, error) {
	if err := b.open(ctx, t); err != nil {
		return nil, err
	}
	if b.looking {
		return nil, b.foresee(ctx, t)
	}
	if t.ready == nil {
		var err error
		if t.ready, err = t.puller.Prepare(ctx, t.req); err != nil {
			return nil, err
		}
	}
	return t.puller.Finish(ctx, t.ready)
}
