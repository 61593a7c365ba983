package pull

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// Run carries out pl: it fetches and unpacks under a lease, checks that
// everything is there, and registers the image. If nothing is missing it only
// looks. What is missing is surveyed anew, since a plan may be old.
//
// When Run fails the image record is as before, and what a later pull can use
// is kept under one lease. A daemon that goes away and comes back costs the work
// that it did not commit.
func (p *Puller) Run(ctx context.Context, pl *Plan) (*Result, error) {
	ctx = p.Store.Context(ctx)
	if err := pl.checkVerified(); err != nil {
		return nil, p.fail(ctx, StageVerify, pl.Request.Ref, err)
	}
	p.announce(pl)
	r := p.newRun(*pl)
	defer r.scheduler.leave(r)
	return endure(ctx, p, StageFetch, pl.Request.Ref, func(ctx context.Context) (*Result, error) {
		if err := r.begin(ctx); err != nil {
			return nil, err
		}
		switch {
		case r.plan.isDone():
			return r.present(), nil
		case r.plan.Request.Engine == EngineTransfer:
			return r.transfer(ctx)
		}
		return r.leased(ctx, func(ctx context.Context) error {
			if err := r.fetch(ctx); err != nil {
				return err
			}
			return r.register(ctx)
		})
	})
}

// run is the state of one Run.
type run struct {
	p         *Puller
	scheduler *Scheduler
	plan      *Plan // with what is missing at the latest begin
	begun     bool  // at least once
	fetcher   *fetch.Fetcher
	unpacker  *unpack.Unpacker
	source    fetch.Source
	result    *Result
	before    *images.Image // the record of the name, nil if there was none
	mu        sync.Mutex    // guards the engine of result
	ledger    *ledger       // without what the unpacker fetched
	fetched   time.Time     // when all layers were there
}

func (p *Puller) newRun(pl Plan) *run {
	s := p.scheduler()
	r := &run{
		p: p, scheduler: s, plan: &pl, fetcher: p.fetcher(s), source: fetch.From(pl.Request.Ref), ledger: newLedger(pl.Fetched),
		result: &Result{
			Name: pl.Name, Target: pl.Target, Host: pl.Host, Previous: pl.Previous,
			Changed: pl.writesRecord(), Labels: pl.Request.Labels, NewLabels: pl.NewLabels,
			Engine: EngineClient, EngineReason: "nothing to unpack",
		},
	}
	for desc := range pl.blobs {
		r.ledger.want(desc)
	}
	r.fetcher.Room = s.guard.TakeContent
	r.result.Platforms = pl.Pulled()
	engine := pl.Request.Engine
	if isAuto(engine) {
		engine = ""
	}
	r.unpacker = unpack.New(unpack.Options{
		Store: p.Store, Fetcher: r.fetcher, Scheduler: s.unpacks, Progress: p.Progress, SyncFS: pl.Request.SyncFS, Discard: pl.Request.DiscardLayers,
		Engine: engine, Bounds: p.Limits.Layer, Guard: s.guard,
	})
	return r
}
