package pull

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
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

// prepare finds out what r takes as its policy wants it. A digest that is whole in
// the store needs no network under any policy, since it cannot have changed.
func (p *Puller) prepare(ctx context.Context, r Request) (*Ready, error) {
	var held *Plan
	var lacks, err error
	if r.Policy == PolicyMissing || r.Policy == PolicyNewer || r.Policy == PolicyNever || r.Ref.Digest != "" {
		if held, lacks, err = p.findComplete(ctx, r); err != nil {
			return nil, err
		}
	}
	if held != nil {
		if held, err = p.judgeable(r, held); err != nil {
			return nil, p.fail(ctx, StageVerify, r.Ref, err)
		}
	}
	switch {
	case held != nil && (r.Policy != PolicyNewer || r.Ref.Digest != ""):
		return p.whole(ctx, held)
	case held == nil && r.Policy == PolicyNever:
		return nil, p.fail(ctx, StagePlan, r.Ref, notHeld(lacks))
	}
	pl, err := endure(p.Store.Context(ctx), p, StagePlan, r.Ref, func(ctx context.Context) (*Plan, error) { return p.resolve(ctx, r) })
	if err != nil {
		return p.wholeInstead(ctx, held, err)
	}
	return &Ready{Plan: pl, held: held}, nil
}

// whole is content with an image that is whole, if the verifiers are: those of the
// caller and those of the daemon.
func (p *Puller) whole(ctx context.Context, held *Plan) (*Ready, error) {
	if err := p.judgeTarget(ctx, held); err != nil {
		return nil, p.fail(ctx, StageVerify, held.Request.Ref, err)
	}
	return &Ready{Plan: held, Whole: true}, nil
}

// wholeInstead is content with an image that is there, if there is one and the
// registry is to blame that there is no newer one.
func (p *Puller) wholeInstead(ctx context.Context, held *Plan, err error) (*Ready, error) {
	if held == nil || ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) || !errors.As(err, new(*source.Error)) {
		return nil, err
	}
	p.warn(held.Request.Ref, "keeping the image that is there: %v", err)
	return p.whole(ctx, held)
}

// judgeable is held if what judges an image that is there can be asked here. The
// verifiers of some daemons can only be asked by a pull of the daemon's own: then an
// image counts as none, and where no registry may be asked either, it is refused.
func (p *Puller) judgeable(r Request, held *Plan) (*Plan, error) {
	why := p.Store.Traits().Verifiers.Unknown
	switch {
	case why == "":
		return held, nil
	case r.Policy != PolicyNever:
		return nil, nil
	}
	return nil, trust.Refuse(daemonVerifiers, r.Ref.Name, held.Target.Digest, why+"; only containerd can ask them, with a registry")
}

// notHeld is the error of an image that lacks something and must not be pulled.
func notHeld(lacks error) error {
	const what = "not whole in the store, and by its policy no registry is asked: "
	why := failure.New(errdefs.ErrNotFound, what+"%w", lacks)
	if errdefs.IsDataLoss(lacks) { // and to be told from what never was there
		why = failure.New(errdefs.ErrDataLoss, what+"%v", lacks)
	}
	return why.WithHint("pull with another --policy")
}

// findComplete returns a plan that has nothing to do, because everything is in the
// store: the record, the documents, and each wanted layer as a snapshot, or as a
// blob where nothing is to be unpacked. It is nil if something is missing, and lacks
// says what.
func (p *Puller) findComplete(ctx context.Context, r Request) (held *Plan, lacks, err error) {
	held, err = endure(p.Store.Context(ctx), p, StagePlan, r.Ref, func(ctx context.Context) (*Plan, error) {
		var found *Plan
		found, lacks = p.lookUp(ctx, r)
		if errdefs.IsNotFound(lacks) || errdefs.IsDataLoss(lacks) {
			return nil, nil
		}
		return found, p.fail(ctx, StagePlan, r.Ref, lacks)
	})
	return held, lacks, err
}

func (p *Puller) lookUp(ctx context.Context, r Request) (*Plan, error) {
	record, err := p.Store.Image(ctx, r.Ref.Name)
	if err != nil {
		return nil, err
	}
	if record == nil || r.Ref.Digest != "" && r.Ref.Digest != record.Target.Digest {
		return nil, failure.New(errdefs.ErrNotFound, "there is no record of it")
	}
	return p.inspectImage(ctx, r, record)
}

// inspectImage plans r without a network and checks that nothing is missing
// that the record promises.
func (p *Puller) inspectImage(ctx context.Context, r Request, record *images.Image) (*Plan, error) {
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
	return pl.plan, nil
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
