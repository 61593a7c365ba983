package batch

import (
	"context"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

const (
	// atOnce is how many references are resolved at once, and how many images are
	// pulled at once. The registry client bounds what that is for each host, and the
	// scheduler what it is for the machine.
	atOnce = 32
	// maxAhead bounds the bytes of documents that wait in memory for their turn.
	maxAhead = 64 << 20
)

// task is a job on its way.
type task struct {
	Job
	place  int // among the jobs
	group  *group
	use    use // of its store
	puller pull.Puller
	req    pull.Request
	// ready is nil until the job is prepared, and again where its documents had no
	// room in memory.
	ready    *pull.Ready
	prepared bool
	ahead    int64 // bytes of documents that wait for its turn
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

// prepare finds out what the pull of t takes, or in place of a pull what it would do,
// and reports a failure.
func (b *Batch) prepare(ctx context.Context, t *task) {
	t.prepared = true
	switch {
	case t.err != nil:
	case b.looking:
		t.err = b.foresee(ctx, t)
	default:
		t.ready, t.err = t.puller.Prepare(ctx, t.req)
	}
	switch {
	case t.err != nil:
		b.fail(ctx, t)
	case t.ready != nil:
		t.ahead = t.ready.Held()
		if all := b.held.Add(t.ahead); all > maxAhead && all > t.ahead {
			b.held.Add(-t.ahead)
			t.ready, t.ahead = nil, 0
		}
	}
}
