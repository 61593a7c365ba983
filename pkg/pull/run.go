package pull

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

const (
	// cleanupTime bounds what must happen after a cancel: a caller who was
	// interrupted wants to be gone within 2 s.
	cleanupTime = 1500 * time.Millisecond
	// metadataFetches is how many manifests of other platforms are fetched at
	// once.
	metadataFetches = 4
)

// Run carries out pl: it fetches and unpacks under a lease, checks that all is
// there, and registers the image. Where all is there already it only looks.
// When it fails the image record is as before, and what a later pull can use is
// kept under one lease of ours. A daemon that goes away and comes back costs the
// work that it did not commit.
func (p *Puller) Run(ctx context.Context, pl *Plan) (*Result, error) {
	ctx = p.Store.Context(ctx)
	if err := pl.checkVerified(); err != nil {
		return nil, p.fail(ctx, StageVerify, pl.Request.Ref, err)
	}
	p.announce(pl)
	r := p.newRun(pl)
	again := false
	return endure(ctx, p, StageFetch, pl.Request.Ref, func(ctx context.Context) (*Result, error) {
		if err := p.admit(ctx, pl, again); err != nil {
			return nil, err
		}
		again = true
		if present, err := r.present(ctx); present || err != nil {
			return r.result, err
		}
		if pl.Request.Engine == EngineTransfer {
			return p.delegate(ctx, r)
		}
		err := r.leased(ctx)
		return r.result, err
	})
}

// admit tells whether pl may begin, or go on after the daemon went away. If it
// may not go on, what it has left so far goes.
func (p *Puller) admit(ctx context.Context, pl *Plan, again bool) error {
	stage, err := StageVerify, error(nil)
	if again { // the daemon that came back may ask other verifiers
		err = p.judge(ctx, pl)
	}
	if err == nil {
		stage, err = StagePlan, p.prepare(ctx, pl)
	}
	if err == nil {
		return nil
	}
	err = p.fail(ctx, stage, pl.Request.Ref, err)
	if again && !p.Store.Disconnected(ctx) {
		err = errors.Join(err, p.letGo(ctx, pl.Name))
	}
	return err
}

// prepare makes the store ready for pl.
func (p *Puller) prepare(ctx context.Context, pl *Plan) error {
	room := p.Store.FreeSpace(ctx)
	if err := p.clear(ctx, pl, room); err != nil {
		return err
	}
	return p.fits(ctx, pl, room)
}

// letGo deletes the leases of rounds that were abandoned.
func (p *Puller) letGo(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_, lease, err := p.Store.Lease(ctx, name)
	if err != nil {
		return err
	}
	return lease.Delete(ctx)
}

// leased does the work of r under a lease.
func (r *run) leased(ctx context.Context) error {
	p, ref := r.p, r.plan.Request.Ref
	leased, lease, err := p.Store.Lease(ctx, r.plan.Name)
	if err != nil {
		return p.fail(ctx, StageFetch, ref, err)
	}
	err = r.do(leased)
	if r.plan.Request.Engine.auto() && errors.Is(err, store.ErrNoApplier) {
		r.result, err = r.instead(ctx, err)
	}
	if err != nil {
		return errors.Join(err, p.close(ctx, ref, lease, err))
	}
	err = lease.Delete(ctx)
	if err != nil && p.Store.Disconnected(ctx) {
		return p.fail(ctx, StageRegister, ref, err)
	}
	if err != nil { // the image is registered: the lease only expires later
		p.warn(ref, "%v", err)
	}
	if err := p.Store.Flush(); err != nil {
		return p.fail(ctx, StageRegister, ref, errors.Join(err, r.unregister(ctx)))
	}
	if r.plan.Request.DiscardLayers {
		if err := p.Store.Collect(ctx, store.Garbage); err != nil {
			p.warn(ref, "collecting the layers: %v", err)
		}
	}
	return nil
}

// announce tells which layers the pull is about, so that totals are right from
// the start.
func (p *Puller) announce(pl *Plan) {
	for _, sel := range pl.Images {
		chain := identity.ChainIDs(slices.Clone(sel.DiffIDs))
		for i, l := range sel.Layers {
			e := progress.Event{Kind: progress.Planned, Ref: pl.Name, Blob: progress.Layer, Digest: l.Digest, MediaType: l.MediaType, Bytes: progress.Bytes{Total: l.Size}}
			if sel.Unpack {
				e.ChainID = chain[i]
			}
			p.Progress.Emit(e)
		}
	}
}

func (p *Puller) newRun(pl *Plan) *run {
	r := &run{
		p: p, plan: pl, fetcher: p.fetcher(), source: fetch.From(pl.Request.Ref),
		result: &Result{
			Name: pl.Name, Target: pl.Target, Host: pl.Host, Previous: pl.Previous,
			Changed: pl.Previous != pl.Target.Digest, Labels: pl.Request.Labels,
			Engine: string(EngineClient), EngineReason: "nothing to unpack",
			Platforms: make([]Platform, len(pl.Images)),
		},
	}
	r.unpacker = unpack.New(unpack.Options{
		Store: p.Store, Fetcher: r.fetcher, Progress: p.Progress, SyncFS: pl.Request.SyncFS, Discard: pl.Request.DiscardLayers,
		Engine: pl.Request.Engine.unpacker(), Downloads: p.Limits.downloads(), Unpacks: p.Limits.unpacks(),
		Bounds: p.Limits.Layer,
	})
	return r
}

// unpacker is the engine as pkg/unpack knows it.
func (e Engine) unpacker() string {
	if e == EngineAuto {
		return ""
	}
	return string(e)
}

// close ends the lease of a pull that failed.
func (p *Puller) close(ctx context.Context, ref source.Ref, lease *store.Lease, cause error) error {
	if p.Store.Disconnected(ctx) { // what it holds is for the next round, or for the next pull
		lease.Abandon()
		return nil
	}
	keep := resumable(ctx, cause)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
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

// run is the state of one Run.
type run struct {
	p        *Puller
	plan     *Plan
	fetcher  *fetch.Fetcher
	unpacker *unpack.Unpacker
	source   fetch.Source
	result   *Result
	before   *images.Image // the record of the name, nil if there was none
	mu       sync.Mutex    // guards the engine of result
	metadata atomic.Int64  // bytes of documents that came over the network
	fetched  time.Time     // when all layers were there
}

func (r *run) do(ctx context.Context) error {
	ref := r.plan.Request.Ref
	if err := r.bring(ctx); err != nil {
		return r.p.fail(ctx, StageFetch, ref, err)
	}
	r.count(r.unpacker.Fetched() + r.metadata.Load())
	if err := r.register(ctx); err != nil {
		return r.p.fail(ctx, StageRegister, ref, err)
	}
	r.p.phase(ref, progress.Commit, r.fetched, 0)
	return nil
}

// bring fetches and unpacks until everything is there that the record will
// promise. What others remove meanwhile is brought again.
func (r *run) bring(ctx context.Context) error {
	for round := 1; ; round++ {
		r.metadata.Store(0)
		err := r.fetchAll(ctx)
		if err == nil {
			err = r.check(ctx)
		}
		switch {
		case err == nil || !vanished(err):
			return err
		case round == rounds:
			return fmt.Errorf("others remove what is being pulled: %v: %w", err, errdefs.ErrAborted)
		}
		r.p.warn(r.plan.Request.Ref, "bringing again what somebody removed: %v", err)
	}
}

// fetchAll brings the images and their documents, and beside them the documents
// of the others.
func (r *run) fetchAll(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	unpacked := make(chan struct{})
	g.Go(func() error { return r.fetchOthers(gctx) })
	g.Go(func() error {
		err := r.images(gctx)
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

// images fetches and unpacks.
func (r *run) images(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, sel := range r.plan.Images {
		g.Go(func() error { return r.image(ctx, sel, &r.result.Platforms[i]) })
	}
	return g.Wait()
}

func (r *run) image(ctx context.Context, sel Selected, into *Platform) error {
	*into = Platform{Platform: sel.Platform, Manifest: sel.Manifest.Digest, Config: sel.Config.Digest, Layers: sel.Layers}
	img := unpack.Image{
		Source: r.source, Layers: sel.Layers, DiffIDs: sel.DiffIDs,
		Keep: func(ctx context.Context) error { return r.keep(ctx, sel) },
	}
	if !sel.Unpack {
		return r.unpacker.Fetch(ctx, img)
	}
	done, err := r.unpacker.Unpack(ctx, img)
	if err != nil {
		return err
	}
	into.ChainID, into.Unpacked = done.ChainID, true
	if done.Worked {
		r.engine(done)
	}
	return r.mend(ctx, sel)
}

// mend fetches layers again that somebody removed after they were unpacked.
func (r *run) mend(ctx context.Context, sel Selected) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(metadataFetches)
	for i, l := range sel.Layers {
		if r.unpacker.Brought(l.Digest) {
			g.Go(func() error { return r.mendLayer(ctx, l, sel.DiffIDs[i]) })
		}
	}
	return g.Wait()
}

func (r *run) mendLayer(ctx context.Context, desc ocispec.Descriptor, diffID digest.Digest) error {
	_, err := r.p.Store.Content.Info(ctx, desc.Digest)
	if err == nil {
		return nil
	}
	if !errdefs.IsNotFound(err) {
		return fmt.Errorf("checking layer %s: %w", desc.Digest, err)
	}
	r.p.warn(r.plan.Request.Ref, "layer %s was removed meanwhile and is fetched again", desc.Digest)
	source := fetch.Source{Ref: r.source.Ref, Labels: maps.Clone(r.source.Labels)}
	source.Labels[labels.LabelUncompressed] = diffID.String()
	return r.unpacker.Fetch(ctx, unpack.Image{Source: source, Layers: []ocispec.Descriptor{desc}})
}

// keep holds what is in the content store of an image: the manifest comes under
// the lease, and with it all that its labels name.
func (r *run) keep(ctx context.Context, sel Selected) error {
	for _, d := range r.plan.Documents {
		if d.Desc.Digest == sel.Manifest.Digest {
			return r.write(ctx, d, r.labels(d))
		}
	}
	return nil
}

// engine notes who unpacked; all images of a pull have the same engine unless
// one of them needs the daemon's.
func (r *run) engine(done unpack.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.result.Engine != string(EngineDaemon) {
		r.result.Engine, r.result.EngineReason = done.Engine, done.Reason
	}
}

// fetchOthers keeps the manifests and configs of the platforms that were not
// selected. Nobody runs them here: what a registry does not have of them is
// worth a warning, not more.
func (r *run) fetchOthers(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(metadataFetches)
	for _, desc := range r.plan.Others {
		g.Go(func() error {
			err := r.fetchOther(ctx, desc)
			if errdefs.IsNotFound(err) {
				r.p.warn(r.plan.Request.Ref, "leaving out another platform's manifest: %v", err)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

func (r *run) fetchOther(ctx context.Context, desc ocispec.Descriptor) error {
	pl := &planner{p: r.p, fetcher: r.fetcher, plan: r.plan}
	manifest, err := pl.manifest(ctx, desc, progress.Manifest)
	if err != nil {
		return err
	}
	var parsed ocispec.Manifest
	if err := image.Parse(desc, manifest.Body, &parsed); err != nil {
		return err
	}
	manifest.Children = image.Children(parsed)
	config, err := pl.config(ctx, parsed.Config)
	if err != nil {
		return err
	}
	return errors.Join(r.storeDocument(ctx, config, r.labels(config)), r.storeDocument(ctx, manifest, r.labels(manifest)))
}

// storeDocuments writes children before parents. The layers and snapshots that
// they refer to are under way meanwhile; the lease holds what is there already.
func (r *run) storeDocuments(ctx context.Context) error {
	for i := len(r.plan.Documents) - 1; i >= 0; i-- {
		d := r.plan.Documents[i]
		labels := r.labels(d)
		maps.Copy(labels, r.snapshotLabels(d))
		if err := r.storeDocument(ctx, d, labels); err != nil {
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
	if d.Fetched {
		r.metadata.Add(d.Desc.Size)
	}
	r.tellDocument(d, time.Since(start))
	return nil
}

// tellDocument tells that a document is in the store, and how long it took to
// put it there.
func (r *run) tellDocument(d Document, took time.Duration) {
	if !d.Fetched {
		r.p.Progress.Emit(progress.Event{
			Kind: progress.Present, Ref: r.plan.Name, Blob: d.Kind, Digest: d.Desc.Digest, MediaType: d.Desc.MediaType, Bytes: progress.Bytes{Total: d.Desc.Size},
		})
		return
	}
	r.p.Progress.Emit(progress.Event{
		Kind: progress.FetchDone, Ref: r.plan.Name, Blob: d.Kind, Digest: d.Desc.Digest, MediaType: d.Desc.MediaType,
		Bytes: progress.Bytes{Done: d.Desc.Size, Total: d.Desc.Size}, Host: r.plan.Host, Duration: took,
	})
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
func (r *run) labels(d Document) map[string]string {
	set := maps.Clone(r.source.Labels)
	maps.Copy(set, image.Labels(d.Children, r.kinds()))
	return set
}

// snapshotLabels of a config refer to the snapshots that are made of its layers.
func (r *run) snapshotLabels(d Document) map[string]string {
	set := map[string]string{}
	for _, sel := range r.plan.Images {
		if d.Desc.Digest == sel.Config.Digest && sel.Unpack && len(sel.DiffIDs) > 0 {
			set[image.LabelSnapshot+r.p.Store.Name] = identity.ChainID(sel.DiffIDs).String()
		}
	}
	return set
}

// kinds of labels by which a document keeps its children.
func (r *run) kinds() image.Kinds {
	if r.plan.Request.DiscardLayers {
		return images.ChildGCLabelsFilterLayers
	}
	return images.ChildGCLabels
}

// check looks at everything that the record will promise.
func (r *run) check(ctx context.Context) error {
	for _, d := range r.plan.Documents {
		if _, err := r.p.Store.Content.Info(ctx, d.Desc.Digest); err != nil {
			return fmt.Errorf("checking %s %s: %w", d.Kind, d.Desc.Digest, err)
		}
	}
	for i, sel := range r.plan.Images {
		if err := r.checkImage(ctx, sel, r.result.Platforms[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkImage wants the whole chain of snapshots of what was unpacked, and
// every layer of what was not.
func (r *run) checkImage(ctx context.Context, sel Selected, done Platform) error {
	if done.Unpacked {
		return r.p.Store.CheckChain(ctx, sel.DiffIDs)
	}
	for _, l := range sel.Layers {
		if _, err := r.p.Store.Content.Info(ctx, l.Digest); err != nil {
			return fmt.Errorf("checking layer %s: %w", l.Digest, err)
		}
	}
	return nil
}

// count sums up what came over the network and what was there.
func (r *run) count(fetched int64) {
	r.result.Fetched = fetched
	r.result.Unpacked = r.unpacker.Unpacked()
	var wanted int64
	for _, d := range r.plan.Documents {
		wanted += d.Desc.Size
	}
	for _, sel := range r.plan.Images {
		for _, l := range sel.Layers {
			wanted += l.Size
		}
	}
	r.result.Reused = max(wanted-fetched, 0)
}

func (r *run) register(ctx context.Context) (err error) {
	if err := r.plan.checkVerified(); err != nil {
		return err
	}
	if r.before, err = r.p.Store.Image(ctx, r.plan.Name); err != nil {
		return err
	}
	return r.p.Store.Register(ctx, images.Image{Name: r.plan.Name, Target: r.plan.Target, Labels: r.plan.Request.Labels})
}

// unregister takes back a registration that does not hold. In an embedded root,
// whose lease has gone, a collection then removes what was pulled.
func (r *run) unregister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	return errors.Join(r.p.Store.Restore(ctx, r.plan.Name, r.before), r.p.Store.Collect(ctx, store.Garbage))
}
