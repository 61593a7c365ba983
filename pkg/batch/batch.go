// Package batch pulls several images in one call. A Job is one reference with
// the configuration that holds for it, an Outcome what became of it. All references
// are resolved at once (ahead.go), and the images of one store are pulled together
// (group.go). forecast.go is what a call would do.
//
// The package chooses what a job needs, by its configuration: the kind of store
// and the registry client (Parts), and the verifier. It does not parse
// references, decide what exit code a failure has, or write results; that is
// the command's.
//
// Batch.Run is where to start reading. pkg/pull is the story of one image.
package batch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Job is one reference with the configuration that holds for it.
type Job struct {
	Ref      source.Ref
	Config   *config.Config
	Typed    string // the reference as it was given
	Untagged bool   // it was given without tag and digest
}

// onlyLooks reports whether the job finds its image in the store or fails, and
// writes nothing.
func (j Job) onlyLooks() bool {
	return j.Config.Request.Policy == pull.PolicyNever && len(j.Config.Request.Labels) == 0
}

// Batch is one call for one or several images. It is run once.
type Batch struct {
	Jobs  []Job
	Parts *Parts
	// Warnings are emitted before the first job.
	Warnings []string
	// OnError is called with each failure of a job when it happens, after the
	// event of the failure, one at a time. It may be nil.
	OnError func(error)
	// FailFast ends what is at work when a job fails, and leaves the rest untried. No
	// job is begun before all references are resolved then.
	FailFast bool

	looking  bool // only to plan
	observer observer
	outcomes []Outcome    // parallel to Jobs
	held     atomic.Int64 // bytes of documents that wait
	stop     func()       // ends what is at work
	mu       sync.Mutex
	culprit  *task // whose failure ended the others
	ended    bool  // the end of the context was reported
}

// PartialError is the error of a batch of several jobs of which some failed.
type PartialError struct{ Failed, Of int }

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d images could not be pulled", e.Failed, e.Of)
}

// Run pulls every reference and returns an outcome for each of them, in the order
// of the jobs. A failure does not stop the others, except the end of the
// context, and a first job that cannot be begun because of its store or its
// configuration: the others have the same error then. Run returns the error of the only job, or a
// PartialError; OnError has been called with each failure. An error in closing a
// store is joined to it.
func (b *Batch) Run(ctx context.Context) ([]Outcome, error) {
	start := time.Now()
	err := b.run(ctx)
	b.emit(progress.Event{
		Kind:     progress.Summary,
		Counts:   progress.Counts{Images: len(b.Jobs), Failed: b.failed()},
		Duration: time.Since(start),
	})
	return b.outcomes, err
}

func (b *Batch) run(ctx context.Context) error {
	b.outcomes = make([]Outcome, len(b.Jobs))
	b.Parts.Progress = progress.Tee(b.observer.event, b.Parts.Progress)
	b.emit(progress.Event{Kind: progress.Start, Refs: b.names()})
	for _, w := range b.Warnings {
		b.emit(progress.Event{Kind: progress.Warning, Message: w})
	}
	return errors.Join(b.pullAll(ctx), b.Parts.Close())
}

func (b *Batch) emit(e progress.Event) { b.Parts.Progress.Emit(e) }

func (b *Batch) names() []string {
	names := make([]string, len(b.Jobs))
	for i, j := range b.Jobs {
		names[i] = j.Ref.Name
	}
	return names
}

// record notes the outcome of a job.
func (b *Batch) record(t *task) {
	b.outcomes[t.place] = Outcome{
		Job: t.Job, Result: t.result, Outlook: t.outlook, Hosts: t.hosts, Err: t.err, Observed: b.observer.take(t.Ref.Name),
		Namespace: t.namespace, Snapshotter: t.snapshotter,
	}
}

func (b *Batch) failed() int {
	failed := 0
	for _, o := range b.outcomes {
		if o.Err != nil {
			failed++
		}
	}
	return failed
}

// report emits a failure and hands it to OnError. The end of the context, of which
// all fail that are at work, is told once.
func (b *Batch) report(ctx context.Context, ref string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		if b.ended {
			return
		}
		b.ended = true
	}
	b.emit(progress.Event{Kind: progress.Error, Ref: ref, Err: err})
	if b.OnError != nil {
		b.OnError(err)
	}
}
