package batch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// group is what is pulled together: tasks with one store, the same limits and the same
// registry client, whose failures hold for all of them. One group is at work at a time,
// since one store is open at a time.
type group struct {
	tasks     []*task
	scheduler *pull.Scheduler // nil for a task alone
	resolving slots
	pulling   slots
}

// slots bound how many tasks do something at once.
type slots chan struct{}

func (s slots) do(f func()) {
	s <- struct{}{}
	defer func() { <-s }()
	f()
}

// groupsOf groups tasks, those of the first task first.
func groupsOf(tasks []*task) (groups []*group) {
	type key struct {
		place
		pull.Limits
		source.Source
	}
	index := map[key]*group{}
	for _, t := range tasks {
		k := key{place{t.Config.Store, t.use}, t.Config.Limits, t.puller.Source}
		g := index[k]
		if g == nil {
			g = &group{resolving: make(slots, atOnce), pulling: make(slots, atOnce)}
			index[k], groups = g, append(groups, g)
		}
		t.group = g
		g.tasks = append(g.tasks, t)
	}
	return groups
}

// open opens the store of a group for its tasks.
func (b *Batch) open(ctx context.Context, g *group) error {
	first := g.tasks[0]
	st, err := b.Parts.open(ctx, place{first.Config.Store, first.use})
	if err != nil {
		return err
	}
	if g.scheduler == nil && len(g.tasks) > 1 {
		g.scheduler = pull.NewScheduler(st, first.Config.Limits)
	}
	for _, t := range g.tasks {
		t.puller.Store, t.namespace, t.snapshotter = st, st.Namespace, st.Name
		if !t.waits {
			t.puller.Scheduler = g.scheduler
		}
	}
	return nil
}

// pullAll resolves all references at once and pulls the images.
func (b *Batch) pullAll(ctx context.Context) error {
	tasks := b.tasks()
	groups := groupsOf(tasks)
	err := tasks[0].err
	if err == nil {
		err = b.open(ctx, groups[0])
	}
	if err != nil {
		b.report(ctx, tasks[0].Ref.Name, err)
		b.leave(tasks, err)
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	b.stop = stop
	if len(groups) > 1 || b.FailFast { // or a failure would be told late, or something fetched before it
		for _, g := range groups {
			b.each(running, g, func(*task) {})
		}
	}
	for _, g := range groups {
		if running.Err() == nil {
			b.pullGroup(running, g)
		}
	}
	b.pullAgain(running, tasks)
	return b.conclude(ctx, tasks)
}

// each prepares all tasks of a group at once, save those that wait for others, and
// does something with each of them as soon as that is done.
func (b *Batch) each(ctx context.Context, g *group, do func(*task)) {
	err := b.open(ctx, g)
	var running sync.WaitGroup
	for _, t := range g.tasks {
		if err != nil && t.err == nil {
			if t.err = err; t.prepared {
				b.fail(ctx, t)
			}
		}
		if t.waits {
			continue
		}
		running.Go(func() {
			if !t.prepared {
				g.resolving.do(func() { b.prepare(ctx, t) })
			}
			do(t)
		})
	}
	running.Wait()
}

// pullGroup pulls the images of a group together.
func (b *Batch) pullGroup(ctx context.Context, g *group) {
	b.each(ctx, g, func(t *task) {
		if t.ready != nil && t.ready.Whole { // it takes no time
			b.pull(ctx, t)
		} else {
			g.pulling.do(func() { b.pull(ctx, t) })
		}
	})
	if g.scheduler != nil {
		g.scheduler.Close()
	}
	for _, t := range g.tasks {
		if !t.waits {
			b.record(t)
		}
	}
}

// pullAgain pulls those images whose names were pulled before, after all others, one at
// a time and in their order.
func (b *Batch) pullAgain(ctx context.Context, tasks []*task) {
	for _, t := range tasks {
		if !t.waits || ctx.Err() != nil {
			continue
		}
		if err := b.open(ctx, t.group); err != nil && t.err == nil {
			t.err = err
		}
		b.prepare(ctx, t)
		b.pull(ctx, t)
		b.record(t)
	}
}

// pull pulls the image of t, unless its preparation failed.
func (b *Batch) pull(ctx context.Context, t *task) {
	if t.err == nil && t.outlook == nil {
		if t.result, t.err = b.finish(ctx, t); t.err != nil {
			b.fail(ctx, t)
		}
	}
	b.held.Add(-t.ahead)
	t.ready, t.ahead = nil, 0
}

func (b *Batch) finish(ctx context.Context, t *task) (*pull.Result, error) {
	if t.ready == nil {
		var err error
		if t.ready, err = t.puller.Prepare(ctx, t.req); err != nil {
			return nil, err
		}
	}
	return t.puller.Finish(ctx, t.ready)
}

// fail reports the failure of t. With FailFast the first one ends the others, which
// have its error then.
func (b *Batch) fail(ctx context.Context, t *task) {
	b.mu.Lock()
	first := b.culprit == nil
	if first && b.FailFast {
		b.culprit = t
	}
	b.mu.Unlock()
	switch {
	case !b.FailFast:
		b.report(ctx, t.Ref.Name, t.err)
	case first:
		b.report(ctx, t.Ref.Name, t.err)
		b.stop()
	default:
		t.err = b.notTried()
	}
}

func (b *Batch) notTried() error {
	return fmt.Errorf("not tried, because that of %s failed: %w", b.culprit.Ref.Name, b.culprit.err)
}

// conclude gives the tasks an outcome that have none, and returns the error of all.
func (b *Batch) conclude(ctx context.Context, tasks []*task) error {
	var last error
	for _, t := range tasks {
		last = cmp.Or(t.err, last)
	}
	untried := slices.ContainsFunc(tasks, func(t *task) bool { return b.outcomes[t.place].Config == nil })
	switch {
	case ctx.Err() != nil && (last != nil || untried):
		last = store.WithCause(ctx, cmp.Or(last, ctx.Err()))
		b.leave(tasks, last)
		return last
	case b.culprit != nil:
		b.leave(tasks, b.notTried())
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
