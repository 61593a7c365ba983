package pull

import (
	"context"
	"runtime/trace"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// Ready is a request that was prepared: it is known what its pull takes, and
// nothing has changed. It is data: another Puller on the same store can finish it.
type Ready struct {
	Plan *Plan
	// Whole is set if the image is in the store already and no registry needs to
	// be asked for more.
	Whole bool

	held *Plan         // the image to be content with if the plan fails, nil if there is none
	took time.Duration // that the preparation took
}

// Held is how many bytes of documents are held in memory.
func (r *Ready) Held() (n int64) {
	for _, pl := range []*Plan{r.Plan, r.held} {
		if pl == nil {
			continue
		}
		for _, d := range pl.Documents {
			n += int64(len(d.Body))
		}
	}
	return n
}

// Prepare finds out what it takes to have r in the store: it looks there, as the
// policy of r wants it resolves the reference, and has the target judged. What of
// the plan is missing is not surveyed yet.
func (p *Puller) Prepare(ctx context.Context, r Request) (*Ready, error) {
	ctx, task := trace.NewTask(ctx, "prepare")
	defer task.End()
	trace.Log(ctx, "ref", r.Ref.Name)
	start := time.Now()
	ready, err := p.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	ready.took = time.Since(start)
	return ready, nil
}

// Finish does what was prepared.
func (p *Puller) Finish(ctx context.Context, ready *Ready) (*Result, error) {
	ctx, task := trace.NewTask(ctx, "pull")
	defer task.End()
	trace.Log(ctx, "ref", ready.Plan.Request.Ref.Name)
	start := time.Now()
	result, err := p.finish(ctx, ready)
	if err != nil {
		return nil, err
	}
	result.Duration = ready.took + time.Since(start)
	p.Progress.Emit(progress.Event{
		Kind: progress.Registered, Ref: result.Name, Digest: result.Target.Digest, Changed: result.Changed, Previous: result.Previous, NewLabels: result.NewLabels,
		Engine: string(result.Engine), Duration: result.Duration, Traffic: progress.Traffic{Fetched: result.Fetched, Reused: result.Reused},
	})
	return result, nil
}

func (p *Puller) finish(ctx context.Context, ready *Ready) (*Result, error) {
	if ready.Whole {
		return p.newRun(*ready.Plan).keep(ctx)
	}
	result, err := p.Run(ctx, ready.Plan)
	if err == nil {
		return result, nil
	}
	instead, err := p.wholeInstead(ctx, ready.held, err)
	if err != nil {
		return nil, err
	}
	return p.newRun(*instead.Plan).keep(ctx)
}

// keep is content with an image that is whole. Its record gets the labels of the
// request that it lacks.
func (r *run) keep(ctx context.Context) (*Result, error) {
	if r.plan.writesRecord() {
		if err := r.relabel(ctx); err != nil {
			return nil, err
		}
	}
	return r.present(), nil
}
