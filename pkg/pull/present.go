package pull

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// errToDo says that a pull would change the store.
var errToDo = errors.New("something is to be done")

// present tells whether the store is as the plan would leave it, and completes
// the result if so. Nothing is written then, and no lease is taken: the record
// that is there keeps everything that it promises.
func (r *run) present(ctx context.Context) (bool, error) {
	if !r.plan.mayBePresent() {
		return false, nil
	}
	for i, sel := range r.plan.Images {
		r.result.Platforms[i] = sel.unpacked()
	}
	err := r.checkPresent(ctx)
	if errors.Is(err, errToDo) || errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, r.p.fail(ctx, StagePlan, r.plan.Request.Ref, err)
	}
	r.tellPresent()
	return true, nil
}

// mayBePresent tells whether the record is right and the request wants nothing
// that the store does not show.
func (pl *Plan) mayBePresent() bool {
	req := pl.Request
	return pl.Previous == pl.Target.Digest && len(req.Labels) == 0 && !req.DiscardLayers && !req.SyncFS && req.Engine != EngineTransfer
}

// checkPresent looks for everything that a pull would write, or tidy up. The
// questions are asked at once: a daemon's answers take longer on the way than
// to be found.
func (r *run) checkPresent(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.checkOrphans(ctx) })
	g.Go(func() error { return r.checkOthers(ctx) })
	for _, d := range r.plan.Documents {
		g.Go(func() error { return r.checkLabels(ctx, d) })
	}
	for _, sel := range r.plan.Images {
		g.Go(func() error { return r.checkLayers(ctx, sel) })
		if sel.Unpack {
			g.Go(func() error { return r.p.Store.CheckChain(ctx, sel.DiffIDs) })
		}
	}
	return g.Wait()
}

// checkOrphans wants no leases that dead pulls of the image left.
func (r *run) checkOrphans(ctx context.Context) error {
	orphans, err := r.p.Store.Orphans(ctx, r.plan.Name)
	if err == nil && len(orphans) > 0 {
		err = errToDo
	}
	return err
}

// checkOthers wants the manifests of other platforms, and the configs that they
// keep.
func (r *run) checkOthers(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(metadataFetches)
	for _, desc := range r.plan.Others {
		g.Go(func() error {
			info, err := r.p.Store.Content.Info(ctx, desc.Digest)
			if err != nil {
				return err
			}
			config := info.Labels[image.LabelConfig]
			if config == "" {
				return errToDo
			}
			_, err = r.p.Store.Content.Info(ctx, digest.Digest(config))
			return err
		})
	}
	return g.Wait()
}

// checkLayers wants the blobs of the layers, which a pull would fetch even if
// there are snapshots of them, with the labels that say where they are from.
func (r *run) checkLayers(ctx context.Context, sel Selected) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(metadataFetches)
	for _, l := range sel.Layers {
		g.Go(func() error {
			info, err := r.p.Store.Content.Info(ctx, l.Digest)
			if errdefs.IsNotFound(err) && sel.Unpack && !r.p.Store.MakesOfBlobs() {
				return nil
			}
			if err == nil && !fetch.Labelled(info, r.source.Labels) {
				return errToDo
			}
			return err
		})
	}
	return g.Wait()
}

// checkLabels wants a document with the labels that a pull would give it: they
// keep what it refers to.
func (r *run) checkLabels(ctx context.Context, d Document) error {
	info, err := r.p.Store.Content.Info(ctx, d.Desc.Digest)
	if err != nil {
		return err
	}
	labels := r.labels(d)
	maps.Copy(labels, r.snapshotLabels(d))
	if !fetch.Labelled(info, labels) {
		return errToDo
	}
	return nil
}

// tellPresent tells of every blob that nothing had to be done for it, and
// counts.
func (r *run) tellPresent() {
	var fetched int64
	for _, d := range r.plan.Documents {
		if d.Fetched {
			fetched += d.Desc.Size
		}
		r.tellDocument(d, 0)
	}
	for i, sel := range r.plan.Images {
		r.tellLayers(sel, r.result.Platforms[i])
	}
	r.count(fetched)
}

func (r *run) tellLayers(sel Selected, done Platform) {
	chain := identity.ChainIDs(slices.Clone(sel.DiffIDs))
	for i, l := range sel.Layers {
		e := progress.Event{Kind: progress.Present, Ref: r.plan.Name, Blob: progress.Layer, Digest: l.Digest, MediaType: l.MediaType, Bytes: progress.Bytes{Total: l.Size}}
		if done.Unpacked {
			e.ChainID = chain[i]
		}
		r.p.Progress.Emit(e)
	}
}
