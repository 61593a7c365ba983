package pull

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Policy says when the registry is asked.
type Policy string

const (
	// PolicyAlways asks the registry and fetches what is missing; it is the
	// zero value's meaning.
	PolicyAlways Policy = "always"
	// PolicyMissing asks nobody if the image is whole in the store.
	PolicyMissing Policy = "missing"
	// PolicyNewer asks, and is content with the image in the store if the
	// registry cannot answer.
	PolicyNewer Policy = "newer"
	// PolicyNever asks nobody: the image is whole in the store or the pull
	// fails.
	PolicyNever Policy = "never"
)

// pull pulls r as its policy wants it. A digest that is whole in the store
// needs no network under any policy: nobody can have anything newer.
func (p *Puller) pull(ctx context.Context, r Request) (*Result, error) {
	var held *Result
	var err error
	if r.Policy == PolicyMissing || r.Policy == PolicyNewer || r.Policy == PolicyNever || r.Ref.Digest != "" {
		if held, err = p.whole(ctx, r); err != nil {
			return nil, err
		}
	}
	switch {
	case held != nil && (r.Policy != PolicyNewer || r.Ref.Digest != ""):
		return p.keep(ctx, r, held)
	case held == nil && r.Policy == PolicyNever:
		return nil, p.fail(ctx, StagePlan, r.Ref, fmt.Errorf("not whole in the store, and by its policy no registry is asked: %w", errdefs.ErrNotFound))
	}
	result, err := p.fetchNew(ctx, r)
	if held != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) && errors.As(err, new(*source.Error)) {
		p.warn(r.Ref, "keeping the image that is there: %v", err)
		return p.keep(ctx, r, held)
	}
	return result, err
}

// keep is content with an image that was whole, if the caller's policy is.
func (p *Puller) keep(ctx context.Context, r Request, held *Result) (*Result, error) {
	if err := p.judgeOwn(ctx, r.Ref, held.Target); err != nil {
		return nil, p.fail(ctx, StageVerify, r.Ref, err)
	}
	return p.relabel(ctx, r, held)
}

// fetchNew plans and runs r.
func (p *Puller) fetchNew(ctx context.Context, r Request) (*Result, error) {
	plan, err := p.Plan(ctx, r)
	if err != nil {
		return nil, err
	}
	return p.Run(ctx, plan)
}

// whole returns the result of a pull that finds everything in the store: the
// record, the documents, and each wanted layer as a snapshot, or as a blob
// where nothing is to be unpacked. It is nil if something is missing.
func (p *Puller) whole(ctx context.Context, r Request) (*Result, error) {
	return endure(p.Store.Context(ctx), p, StagePlan, r.Ref, func(ctx context.Context) (*Result, error) {
		held, err := p.look(ctx, r)
		return held, p.fail(ctx, StagePlan, r.Ref, err)
	})
}

func (p *Puller) look(ctx context.Context, r Request) (*Result, error) {
	image, err := p.Store.Image(ctx, r.Ref.Name)
	if err != nil || image == nil || r.Ref.Digest != "" && r.Ref.Digest != image.Target.Digest {
		return nil, err
	}
	result, err := p.inspect(ctx, r, image)
	if errdefs.IsNotFound(err) || errdefs.IsDataLoss(err) {
		return nil, nil
	}
	return result, err
}

// inspect plans r without a network and checks that nothing is left to do.
func (p *Puller) inspect(ctx context.Context, r Request, image *images.Image) (*Result, error) {
	body, err := content.ReadBlob(ctx, p.Store.Content, image.Target)
	if err != nil {
		return nil, err
	}
	pl := p.newPlanner(r, source.Target{Desc: image.Target, Body: body})
	pl.offline = true
	if err := pl.make(ctx); err != nil {
		return nil, err
	}
	run := p.newRun(pl.plan)
	for i, sel := range pl.plan.Images {
		run.result.Platforms[i] = sel.unpacked()
	}
	if err := run.check(ctx); err != nil {
		return nil, err
	}
	run.count(0)
	return run.result, nil
}

// relabel gives the record of an image that was whole the labels of the
// request.
func (p *Puller) relabel(ctx context.Context, r Request, held *Result) (*Result, error) {
	if len(held.Labels) == 0 {
		return held, nil
	}
	return endure(p.Store.Context(ctx), p, StageRegister, r.Ref, func(ctx context.Context) (*Result, error) {
		err := p.Store.Register(ctx, images.Image{Name: held.Name, Target: held.Target, Labels: held.Labels})
		if err == nil {
			err = p.Store.Flush()
		}
		return held, p.fail(ctx, StageRegister, r.Ref, err)
	})
}
