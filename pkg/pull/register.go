package pull

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// checkFound wants containerd to find, for each platform asked for, one of the
// images that were pulled. It is asked before the record is written, since it is
// the record that containerd goes by.
func (p *Puller) checkFound(ctx context.Context, pl *Plan) error {
	for _, want := range pl.Request.wants() {
		found, err := images.Manifest(ctx, p.Store.Content, pl.Target, want)
		if err != nil {
			return fmt.Errorf("looking for the image for %s as containerd does: %w", want.name, err)
		}
		if !slices.ContainsFunc(pl.Images, func(sel Selected) bool { return pl.isOf(sel, found) }) {
			return failure.New(errdefs.ErrDataLoss, "containerd finds another image for %s than was pulled, with config %s", want.name, found.Config.Digest)
		}
	}
	return nil
}

// isOf reports whether sel was read out of the manifest m.
func (pl *Plan) isOf(sel Selected, m ocispec.Manifest) bool {
	return slices.ContainsFunc(pl.Documents, func(d Document) bool {
		return d.Desc.Digest == sel.Manifest.Digest && reflect.DeepEqual(d.Children, image.Children(m))
	})
}

// register writes the image record, the last thing that a pull does.
func (r *run) register(ctx context.Context) error {
	err := r.plan.checkVerified()
	if err == nil {
		r.before, err = r.p.Store.Image(ctx, r.plan.Name)
	}
	if err == nil {
		err = r.p.Store.Register(ctx, images.Image{Name: r.plan.Name, Target: r.plan.Target, Labels: r.plan.Request.Labels})
	}
	if err != nil {
		return r.p.fail(ctx, StageRegister, r.plan.Request.Ref, err)
	}
	r.p.phase(r.plan.Request.Ref, progress.Commit, r.fetched, 0)
	return nil
}

// secure puts what was registered on stable storage, and lets go of layers that
// are to be discarded.
func (r *run) secure(ctx context.Context) error {
	ref := r.plan.Request.Ref
	if err := r.p.Store.Flush(); err != nil {
		return r.p.fail(ctx, StageRegister, ref, errors.Join(err, r.unregister(ctx)))
	}
	if !r.plan.Request.DiscardLayers {
		return nil
	}
	if err := r.p.Store.Collect(ctx, store.Garbage); err != nil {
		r.p.warn(ref, "collecting the layers: %v", err)
	}
	return nil
}

// unregister takes back a registration that does not hold. In an embedded root,
// whose lease has gone, a collection then removes what was pulled.
func (r *run) unregister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	return errors.Join(r.p.Store.Restore(ctx, r.plan.Name, r.before), r.p.Store.Collect(ctx, store.Garbage))
}

// present completes the result of a pull for which nothing had to be done, and
// reports every blob. Nothing is written, and no lease is taken: the record that
// is there keeps everything that it promises.
func (r *run) present() *Result {
	for _, d := range r.plan.Documents {
		r.tellDocument(d, 0)
	}
	for _, d := range r.plan.Kept {
		r.ledger.want(d.Desc)
		r.tellDocument(d, 0)
	}
	seen := map[digest.Digest]bool{}
	for _, sel := range r.plan.Images {
		for e := range sel.layerEvents {
			if e.Kind, e.Ref = progress.Present, r.plan.Name; !seen[e.Digest] {
				r.p.Progress.Emit(e)
			}
			seen[e.Digest] = true
		}
	}
	r.count(nil)
	return r.result
}

// count sums up what came over the network, of which the bytes of layers are
// given, and what was there.
func (r *run) count(layers map[digest.Digest]int64) {
	all := newLedger(r.ledger.all())
	all.wanted = r.ledger.wanted
	all.add(layers)
	r.result.Fetched, r.result.Reused = all.traffic()
	r.result.Unpacked = r.unpacker.Unpacked()
}
