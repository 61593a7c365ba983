package pull

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// metadataFetches is how many manifests of other platforms are fetched at once.
const metadataFetches = 4

// fetch fetches and unpacks until everything is there that the record will
// promise. What other clients remove meanwhile is fetched again.
func (r *run) fetch(ctx context.Context) error {
	for round := 1; ; round++ {
		err := r.fetchAll(ctx)
		if err == nil {
			err = r.p.checkPromised(ctx, r.plan)
		}
		if err == nil {
			err = r.p.checkFound(ctx, r.plan)
		}
		switch {
		case err == nil:
			r.count(r.unpacker.Fetched())
			return nil
		case !vanished(err):
			return r.p.fail(ctx, StageFetch, r.plan.Request.Ref, err)
		case round == rounds:
			return r.p.fail(ctx, StageFetch, r.plan.Request.Ref, lastWord(err))
		case errdefs.IsDataLoss(err):
			r.p.warn(r.plan.Request.Ref, "fetching again: %v", err)
		default:
			r.p.warn(r.plan.Request.Ref, "fetching again what another client removed: %v", err)
		}
	}
}

// lastWord is the error of what is still not there after the last round: the disk
// does not keep what is written to it, or other clients remove it.
func lastWord(err error) error {
	if errdefs.IsDataLoss(err) {
		return failure.New(errdefs.ErrDataLoss, "written again, and damaged at once: %v", err).
			WithHint("the disk may be failing, and its log (dmesg) may say so: pull onto another one")
	}
	return failure.New(errdefs.ErrAborted, "others remove what is being pulled: %v", err)
}

// fetchAll fetches the images and their documents, and beside them the documents
// of the others.
func (r *run) fetchAll(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	unpacked := make(chan struct{})
	g.Go(func() error { return r.fetchOthers(gctx) })
	g.Go(func() error {
		err := r.fetchImages(gctx)
		if err == nil {
			close(unpacked)
		}
		return err
	})
	g.Go(func() error {
		// In good time, or the pull would wait for the disk at its end, but not
		// before there is anything that a later pull could use.
		select {
		case <-r.unpacker.First():
		case <-unpacked:
		case <-gctx.Done():
			return nil
		}
		return r.storeDocuments(gctx)
	})
	err := g.Wait()
	r.fetched = time.Now()
	return err
}

// fetchImages fetches and unpacks.
func (r *run) fetchImages(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, sel := range r.plan.Images {
		g.Go(func() error { return r.fetchImage(ctx, sel) })
	}
	return g.Wait()
}

func (r *run) fetchImage(ctx context.Context, sel Selected) error {
	img := unpack.Image{
		Source: r.source, Layers: sel.Layers, DiffIDs: sel.DiffIDs,
		Keep: func(ctx context.Context) error { return r.keepBlobs(ctx, sel) },
	}
	if !sel.Unpack {
		return r.unpacker.Fetch(ctx, img)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.unpacker.Fetch(gctx, unpack.Image{Source: r.source, Layers: sel.Beside}) })
	var done unpack.Result
	g.Go(func() (err error) {
		done, err = r.unpacker.Unpack(gctx, img)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if done.Worked {
		r.noteEngine(done)
	}
	return r.mend(ctx, sel)
}

// keepBlobs holds what is in the content store of an image: the manifest comes
// under the lease, and with it everything that its labels name.
func (r *run) keepBlobs(ctx context.Context, sel Selected) error {
	for _, d := range r.plan.Documents {
		if d.Desc.Digest == sel.Manifest.Digest {
			return r.write(ctx, d, r.plan.labels(d))
		}
	}
	return nil
}

// noteEngine notes which engine unpacked; all images of a pull have the same
// unless one of them needs the daemon's.
func (r *run) noteEngine(done unpack.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.result.Engine != EngineDaemon {
		r.result.Engine, r.result.EngineReason = done.Engine, done.Reason
	}
}

// fetchOthers keeps the manifests and configs of the platforms that were not
// selected. They are not run on this host: what is wrong with them, and what a
// registry does not serve of them, is worth a warning and not more.
func (r *run) fetchOthers(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(metadataFetches)
	for _, desc := range r.plan.Others {
		g.Go(func() error {
			err := r.fetchOther(ctx, desc)
			if err != nil && isOdd(ctx, err) {
				r.p.warn(r.plan.Request.Ref, "leaving out another platform's manifest: %v", err)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

func (r *run) fetchOther(ctx context.Context, desc ocispec.Descriptor) error {
	pl := r.p.newPlanner(r.plan.Request, source.Target{})
	pl.ledger = r.ledger
	c, err := pl.load(ctx, desc)
	if err != nil {
		return err
	}
	r.ledger.want(c.manifest.Desc)
	r.ledger.want(c.config.Desc)
	return errors.Join(r.storeDocument(ctx, c.config, r.plan.labels(c.config)), r.storeDocument(ctx, c.manifest, r.plan.labels(c.manifest)))
}

// storeDocuments writes children before parents. The layers and snapshots that
// they refer to are under way meanwhile; the lease holds what is there already.
func (r *run) storeDocuments(ctx context.Context) error {
	for i := len(r.plan.Documents) - 1; i >= 0; i-- {
		d := r.plan.Documents[i]
		if err := r.storeDocument(ctx, d, r.plan.finalLabels(d, r.p.Store.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) storeDocument(ctx context.Context, d Document, labels map[string]string) error {
	start := time.Now()
	if err := r.write(ctx, d, labels); err != nil {
		return err
	}
	r.tellDocument(d, time.Since(start))
	return nil
}

// tellDocument reports that a document is in the store, and how long it took to
// put it there.
func (r *run) tellDocument(d Document, took time.Duration) {
	e := d.event()
	e.Kind, e.Ref = progress.Present, r.plan.Name
	if d.Fetched {
		e.Kind, e.Bytes.Done, e.Host, e.Duration = progress.FetchDone, d.Desc.Size, r.plan.Host, took
	}
	r.p.Progress.Emit(e)
}

// write puts a document into the content store, under the lease, with labels.
func (r *run) write(ctx context.Context, d Document, labels map[string]string) error {
	blob := fetch.Blob{Ref: r.source.Ref, Desc: d.Desc, Kind: d.Kind}
	if err := r.fetcher.Put(ctx, blob, d.Body, labels); err != nil {
		return fmt.Errorf("storing %s %s: %w", d.Kind, d.Desc.Digest, err)
	}
	return nil
}

// labels of a document: where it comes from and what it refers to.
func (pl *Plan) labels(d Document) map[string]string {
	set := maps.Clone(fetch.From(pl.Request.Ref).Labels)
	kinds := images.ChildGCLabels
	if pl.Request.DiscardLayers {
		kinds = images.ChildGCLabelsFilterLayers
	}
	maps.Copy(set, image.Labels(d.Children, kinds))
	return set
}

// finalLabels are the labels of a document once everything that it refers to is
// there: those of a config also refer to the snapshots made of its layers.
func (pl *Plan) finalLabels(d Document, snapshotter string) map[string]string {
	set := pl.labels(d)
	for _, sel := range pl.Images {
		if d.Desc.Digest == sel.Config.Digest && sel.Unpack && len(sel.DiffIDs) > 0 {
			set[image.LabelSnapshot+snapshotter] = identity.ChainID(sel.DiffIDs).String()
		}
	}
	return set
}
