package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// job is one reference with the settings of its profile.
type job struct {
	ref      source.Ref
	cfg      *config.Config
	typed    string // as it was given
	untagged bool   // it was given without tag and digest
}

// batch is the state of one call for one or several images.
type batch struct {
	call     *config.Config // what concerns the whole call
	caller   config.Caller
	own      *credential.Credential // of the command line
	display  *progress.Display
	sink     progress.Sink
	warnings []string
	jobs     []job

	registries map[string]*registry.Registry // by profile
	store      *store.Store                  // of the latest job
	storeOf    store.Options
	ledger     *ledger
	outcomes   []outcome // one for each job, in their order
	failed     int
}

// run pulls every reference. A failure does not stop the others; only the end
// of the context does.
func (b *batch) run(ctx context.Context) error {
	start := time.Now()
	b.registries = make(map[string]*registry.Registry)
	b.sink.Emit(progress.Event{Kind: progress.Start, Refs: b.names()})
	for _, w := range b.warnings {
		b.sink.Emit(progress.Event{Kind: progress.Warning, Message: w})
	}
	err := errors.Join(b.pullAll(ctx), b.closeStore())
	b.sink.Emit(progress.Event{
		Kind:     progress.Summary,
		Counts:   progress.Counts{Images: len(b.jobs), Failed: b.failed},
		Duration: time.Since(start),
	})
	return err
}

func (b *batch) names() []string {
	var names []string
	for _, j := range b.jobs {
		names = append(names, j.ref.Name)
	}
	return names
}

func (b *batch) pullAll(ctx context.Context) error {
	var last error
	for i, j := range b.jobs {
		res, err := b.pull(ctx, j)
		b.settle(j, res, err)
		if err == nil {
			continue
		}
		b.failed++
		last = b.tell(j.ref.Name, err)
		// What stops the call as a whole is no failure of one image.
		if ctx.Err() != nil || (i == 0 && b.store == nil) {
			for _, untried := range b.jobs[i+1:] {
				b.settle(untried, nil, err)
			}
			return last
		}
	}
	if b.failed > 0 && len(b.jobs) > 1 {
		return &reportedError{&partialError{b.failed, len(b.jobs)}}
	}
	return last
}

// settle notes what became of a job.
func (b *batch) settle(j job, res *pull.Result, err error) {
	o := outcome{job: j, result: res, err: err, account: b.ledger.of(j.ref.Name)}
	if b.store != nil && b.storeOf == j.cfg.Store {
		o.namespace, o.snapshotter = b.store.Namespace, b.store.Name
	}
	b.outcomes = append(b.outcomes, o)
}

func (b *batch) pull(ctx context.Context, j job) (*pull.Result, error) {
	reg, err := b.registry(j.cfg)
	if err != nil {
		return nil, err
	}
	if err := b.openStore(ctx, j.cfg.Store); err != nil {
		return nil, err
	}
	verifier, err := trust.New(j.cfg.Verify)
	if err != nil {
		return nil, asUsage(err)
	}
	p := pull.Puller{Store: b.store, Source: reg, Verifier: verifier, Progress: b.sink, Limits: j.cfg.Limits}
	req := j.cfg.Request
	if req.Ref, err = j.cfg.Verify.Pin(j.ref); err != nil {
		return nil, asUsage(err)
	}
	return p.Pull(ctx, req)
}

// registry is the one of the profile, so that tokens and what was learnt about
// hosts are shared by its references.
func (b *batch) registry(cfg *config.Config) (*registry.Registry, error) {
	if reg := b.registries[cfg.Profile]; reg != nil {
		return reg, nil
	}
	opts := cfg.Registry
	opts.UserAgent = programName + "/" + buildVersion()
	opts.Progress = b.sink
	if b.call.HTTPDump {
		opts.Dump = b.display.Writer()
	}
	if b.call.HTTPTrace {
		opts.Trace = b.display.Writer()
	}
	var err error
	if opts.Credentials, err = credential.New(cfg.CredentialOptions(b.caller, b.own)); err != nil {
		return nil, asUsage(err)
	}
	reg, err := registry.New(opts)
	if err != nil {
		return nil, asUsage(err)
	}
	b.registries[cfg.Profile] = reg
	return reg, nil
}

// openStore makes o the store of the next job. One store is open at a time,
// because an embedded root can only be held once.
func (b *batch) openStore(ctx context.Context, o store.Options) error {
	if b.store != nil && b.storeOf == o {
		return nil
	}
	if err := b.closeStore(); err != nil {
		return err
	}
	open := store.Dial
	if o.Root != "" {
		open = store.Open
	}
	st, err := open(ctx, o)
	if errdefs.IsInvalidArgument(err) && o.Root == "" { // a snapshotter that the daemon does not have
		return asUsage(err)
	}
	if err != nil {
		return err
	}
	b.store, b.storeOf = st, o
	return nil
}

func (b *batch) closeStore() error {
	if b.store == nil {
		return nil
	}
	err := b.store.Close()
	b.store = nil
	if err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// tell shows a failure at once: as an event to those who read events, as lines
// to everybody else.
func (b *batch) tell(ref string, err error) error {
	b.sink.Emit(progress.Event{Kind: progress.Error, Ref: ref, Err: err})
	if b.call.Progress != progress.ModeJSON {
		writeError(b.display.Writer(), err, b.caller)
	}
	return &reportedError{err}
}
