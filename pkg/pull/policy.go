package pull

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Policy says when the registry is asked.
type Policy string

const (
	// PolicyAlways asks the registry and fetches what is missing; it is the
	// zero value's meaning.
	PolicyAlways Policy = "always"
	// PolicyMissing does not ask if the image is whole in the store.
	PolicyMissing Policy = "missing"
	// PolicyNewer asks, and is content with the image in the store if the
	// registry cannot answer.
	PolicyNewer Policy = "newer"
	// PolicyNever does not ask: the image is whole in the store or the pull
	// fails.
	PolicyNever Policy = "never"
)

// pull pulls r as its policy wants it. A digest that is whole in the store needs
// no network under any policy, since it cannot have changed.
func (p *Puller) pull(ctx context.Context, r Request) (*Result, error) {
	var held *run
	var err error
	if r.Policy == PolicyMissing || r.Policy == PolicyNewer || r.Policy == PolicyNever || r.Ref.Digest != "" {
		if held, err = p.findComplete(ctx, r); err != nil {
			return nil, err
		}
	}
	switch {
	case held != nil && (r.Policy != PolicyNewer || r.Ref.Digest != ""):
		return held.keep(ctx)
	case held == nil && r.Policy == PolicyNever:
		return nil, p.fail(ctx, StagePlan, r.Ref, failure.New(errdefs.ErrNotFound, "not whole in the store, and by its policy no registry is asked"))
	}
	result, err := p.fetchNew(ctx, r)
	if held != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) && errors.As(err, new(*source.Error)) {
		p.warn(r.Ref, "keeping the image that is there: %v", err)
		return held.keep(ctx)
	}
	return result, err
}

// keep is content with an image that was whole, if the caller's policy is. Its
// record gets the labels of the request that it lacks.
func (r *run) keep(ctx context.Context) (*Result, error) {
	p, ref := r.p, r.plan.Request.Ref
	if err := p.judgeOwn(ctx, ref, r.plan.Target); err != nil {
		return nil, p.fail(ctx, StageVerify, ref, err)
	}
	if r.plan.writesRecord() {
		if err := r.relabel(ctx); err != nil {
			return nil, err
		}
	}
	return r.present(), nil
}

// fetchNew plans and runs r. Run surveys the store, so the plan need not.
func (p *Puller) fetchNew(ctx context.Context, r Request) (*Result, error) {
	pl, err := endure(p.Store.Context(ctx), p, StagePlan, r.Ref, func(ctx context.Context) (*Plan, error) { return p.resolve(ctx, r) })
	if err != nil {
		return nil, err
	}
	return p.Run(ctx, pl)
}

// findComplete returns a run that has nothing to do, because it finds everything in the store:
// the record, the documents, and each wanted layer as a snapshot, or as a blob
// where nothing is to be unpacked. It is nil if something is missing.
func (p *Puller) findComplete(ctx context.Context, r Request) (*run, error) {
	return endure(p.Store.Context(ctx), p, StagePlan, r.Ref, func(ctx context.Context) (*run, error) {
		held, err := p.lookUp(ctx, r)
		return held, p.fail(ctx, StagePlan, r.Ref, err)
	})
}

func (p *Puller) lookUp(ctx context.Context, r Request) (*run, error) {
	record, err := p.Store.Image(ctx, r.Ref.Name)
	if err != nil || record == nil || r.Ref.Digest != "" && r.Ref.Digest != record.Target.Digest {
		return nil, err
	}
	held, err := p.inspectImage(ctx, r, record)
	if errdefs.IsNotFound(err) || errdefs.IsDataLoss(err) {
		return nil, nil
	}
	return held, err
}

// inspectImage plans r without a network and checks that nothing is missing
// that the record promises.
func (p *Puller) inspectImage(ctx context.Context, r Request, record *images.Image) (*run, error) {
	body, err := p.Store.Document(ctx, record.Target)
	if err != nil {
		return nil, err
	}
	pl := p.newPlanner(r, source.Target{Desc: record.Target, Body: body})
	pl.offline = true
	if err := pl.build(ctx); err != nil {
		return nil, err
	}
	if err := p.checkPromised(ctx, pl.plan); err != nil {
		return nil, err
	}
	if err := p.findKept(ctx, pl.plan); err != nil {
		return nil, err
	}
	return p.newRun(*pl.plan), nil
}

// relabel gives the record of an image that was whole the labels of the
// request.
func (r *run) relabel(ctx context.Context) error {
	p, pl := r.p, r.plan
	_, err := endure(p.Store.Context(ctx), p, StageRegister, pl.Request.Ref, func(ctx context.Context) (struct{}, error) {
		err := p.Store.Register(ctx, images.Image{Name: pl.Name, Target: pl.Target, Labels: pl.Request.Labels})
		if err == nil {
			err = p.Store.Flush()
		}
		return struct{}{}, p.fail(ctx, StageRegister, pl.Request.Ref, err)
	})
	return err
}
