// Package batch pulls several images in one call. A Job is one reference with
// the configuration that holds for it, an Outcome what became of it.
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
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
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
	// event of the failure. It may be nil.
	OnError func(error)

	observer observer
	outcomes []Outcome
}

// PartialError is the error of a batch of several jobs of which some failed.
type PartialError struct{ Failed, Of int }

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d images could not be pulled", e.Failed, e.Of)
}

// Run pulls every reference, in the order of the jobs, and returns an outcome
// for each of them. A failure does not stop the others, except the end of the
// context and a store that could not be opened for the first job: the jobs after
// it have the same error then. Run returns the error of the only job, or a
// PartialError; OnError has been called with each failure. An error in closing a
// store is joined to it.
func (b *Batch) Run(ctx context.Context) ([]Outcome, error) {
	start := time.Now()
	b.Parts.Progress = progress.Tee(b.observer.event, b.Parts.Progress)
	b.emit(progress.Event{Kind: progress.Start, Refs: b.names()})
	for _, w := range b.Warnings {
		b.emit(progress.Event{Kind: progress.Warning, Message: w})
	}
	err := errors.Join(b.pullAll(ctx), b.Parts.Close())
	b.emit(progress.Event{
		Kind:     progress.Summary,
		Counts:   progress.Counts{Images: len(b.Jobs), Failed: b.failed()},
		Duration: time.Since(start),
	})
	return b.outcomes, err
}

func (b *Batch) emit(e progress.Event) { b.Parts.Progress.Emit(e) }

func (b *Batch) names() []string {
	names := make([]string, len(b.Jobs))
	for i, j := range b.Jobs {
		names[i] = j.Ref.Name
	}
	return names
}

func (b *Batch) pullAll(ctx context.Context) error {
	var last error
	for i, j := range b.Jobs {
		res, err := b.pull(ctx, j)
		b.record(j, res, err)
		if err == nil {
			continue
		}
		last = err
		b.report(j.Ref.Name, err)
		if ctx.Err() != nil || (i == 0 && b.Parts.store == nil) {
			for _, untried := range b.Jobs[i+1:] {
				b.record(untried, nil, err)
			}
			return last
		}
	}
	if last != nil && len(b.Jobs) > 1 {
		return &PartialError{b.failed(), len(b.Jobs)}
	}
	return last
}

// record adds the outcome of a job.
func (b *Batch) record(j Job, res *pull.Result, err error) {
	o := Outcome{Job: j, Result: res, Err: err, Observed: b.observer.take(j.Ref.Name)}
	if st := b.Parts.store; st != nil && b.Parts.at.Options == j.Config.Store {
		o.Namespace, o.Snapshotter = st.Namespace, st.Name
	}
	b.outcomes = append(b.outcomes, o)
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

// report emits a failure and hands it to OnError.
func (b *Batch) report(ref string, err error) {
	b.emit(progress.Event{Kind: progress.Error, Ref: ref, Err: err})
	if b.OnError != nil {
		b.OnError(err)
	}
}

func (b *Batch) pull(ctx context.Context, j Job) (*pull.Result, error) {
	reg, err := b.Parts.Registry(j.Config)
	if err != nil {
		return nil, err
	}
	open := b.Parts.Store
	if j.onlyLooks() {
		open = b.Parts.Look
	}
	st, err := open(ctx, j.Config.Store)
	if err != nil {
		return nil, err
	}
	verifier, err := trust.New(j.Config.Verify)
	if err != nil {
		return nil, &ConfigError{err}
	}
	p := pull.Puller{Store: st, Source: reg, Verifier: verifier, Progress: b.Parts.Progress, Limits: j.Config.Limits}
	req := j.Config.Request
	if req.Ref, err = j.Config.Verify.Pin(j.Ref); err != nil {
		return nil, &ConfigError{err}
	}
	return p.Pull(ctx, req)
}
