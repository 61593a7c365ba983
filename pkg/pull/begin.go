package pull

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// cleanupTime bounds what must happen after a cancel: a caller who was
// interrupted wants to be gone within 2 s.
const cleanupTime = 1500 * time.Millisecond

// announce reports which layers the pull is about, so that totals are right from
// the start.
func (p *Puller) announce(pl *Plan) {
	for _, sel := range pl.Images {
		for e := range sel.layerEvents {
			e.Kind, e.Ref = progress.Planned, pl.Name
			p.Progress.Emit(e)
		}
	}
}

// begin readies the store for the plan, at first and each time that the daemon
// came back. If the run may not go on then, its partial work is removed.
func (r *run) begin(ctx context.Context) error {
	again := r.begun
	r.begun = true
	stage, err := StageVerify, error(nil)
	if again { // the daemon that came back may ask other verifiers
		err = r.p.judgeTarget(ctx, r.plan)
	}
	if err == nil {
		stage, err = StagePlan, r.prepare(ctx)
	}
	if err == nil {
		return nil
	}
	err = r.p.fail(ctx, stage, r.plan.Request.Ref, err)
	if again && !r.p.Store.Disconnected(ctx) {
		err = errors.Join(err, r.p.dropLeases(ctx, r.plan.Name))
	}
	return err
}

// prepare finds out what is missing and makes room for it. A pull that has work to
// do in any case need not ask the store for every layer beforehand where there is
// ample room.
func (r *run) prepare(ctx context.Context) error {
	unpacks := slices.ContainsFunc(r.plan.Images, func(sel Selected) bool { return sel.Unpack })
	if err := r.scheduler.guard.Open(ctx, r.p.Store, unpacks); err != nil {
		return err
	}
	if !r.plan.mayBeDone() && r.hasAmpleRoom(ctx) {
		return nil
	}
	for {
		s, err := r.p.survey(ctx, r.plan)
		if err != nil {
			return err
		}
		if err := r.removeForeignFiles(ctx); err != nil {
			return err
		}
		wait := r.scheduler.enter(r, s.load, s.space)
		if wait == nil {
			return r.makeRoom(ctx, s.space)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dropLeases deletes the leases of rounds that were abandoned.
func (p *Puller) dropLeases(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_, lease, err := p.Store.Lease(ctx, name)
	if err != nil {
		return err
	}
	return lease.Delete(ctx)
}

// leased does work under a lease, and makes it last. What the store cannot
// unpack is left to the daemon's transfer service, if that may be.
func (r *run) leased(ctx context.Context, work func(context.Context) error) (*Result, error) {
	p, ref := r.p, r.plan.Request.Ref
	leased, lease, err := p.Store.Lease(ctx, r.plan.Name)
	if err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	result, err := r.result, work(leased)
	if isAuto(r.plan.Request.Engine) && errors.Is(err, store.ErrNoApplier) {
		result, err = r.transferInstead(ctx, err)
	}
	if err != nil {
		return nil, errors.Join(err, p.endLease(ctx, ref, lease, err))
	}
	err = lease.Delete(ctx)
	if err != nil && p.Store.Disconnected(ctx) {
		return nil, p.fail(ctx, StageRegister, ref, err)
	}
	if err != nil { // the image is registered: the lease only expires later
		p.warn(ref, "%v", err)
	}
	return result, r.secure(ctx)
}

// endLease ends the lease of a pull that failed. Where others are at work, who may be
// about to use what it brought, that waits for their end.
func (p *Puller) endLease(ctx context.Context, ref source.Ref, lease *store.Lease, cause error) error {
	if p.Store.Disconnected(ctx) { // what it holds is for the next round, or for the next pull
		lease.Abandon()
		return nil
	}
	keep := resumable(ctx, cause)
	ctx = context.WithoutCancel(ctx)
	if p.Scheduler == nil {
		return p.closeLease(ctx, ref, lease, keep)
	}
	p.Scheduler.later(func() {
		if err := p.closeLease(ctx, ref, lease, keep); err != nil {
			p.warn(ref, "%v", err)
		}
	})
	return nil
}

// closeLease lets go of what a pull brought that failed, or keeps it for the next.
func (p *Puller) closeLease(ctx context.Context, ref source.Ref, lease *store.Lease, keep bool) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	if !keep {
		return store.WithErrno(errors.Join(lease.Delete(ctx), p.Store.Collect(ctx, store.Garbage)))
	}
	kept, err := lease.Suspend(ctx)
	if err == nil && kept > 0 {
		p.warn(ref, "%s kept, the next pull resumes", progress.Size(kept))
	}
	return store.WithErrno(err)
}
