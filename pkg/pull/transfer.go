package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// transfer lets the daemon carry out the plan of r, and believes it only what
// can be seen afterwards: the documents, the layers and the snapshots.
func (r *run) transfer(ctx context.Context) (*Result, error) {
	p, pl, ref := r.p, r.plan, r.plan.Request.Ref
	settings, err := p.transferSettings(ctx, ref)
	if err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	if r.before, err = p.Store.Image(ctx, pl.Name); err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	before, err := p.holds(ctx, pl)
	if err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	t := &transferProgress{p: p, ref: ref, before: before, fetched: map[digest.Digest]bool{}}
	for round := 1; ; round++ {
		if err := r.ask(ctx, settings, t); err != nil {
			return nil, p.fail(ctx, StageFetch, ref, err)
		}
		err := errors.Join(r.checkTarget(ctx), p.checkPromised(ctx, pl), p.checkFound(ctx, pl))
		if err == nil {
			break
		}
		if round < rounds && ctx.Err() == nil { // others may have removed it since
			continue
		}
		err = fmt.Errorf("the daemon reports success, but: %w", err)
		return nil, p.fail(ctx, StageFetch, ref, errors.Join(err, r.unregister(ctx)))
	}
	r.result.Engine, r.result.EngineReason = EngineTransfer, cmp.Or(pl.EngineReason, "asked for")
	if err := r.countTransfer(ctx, t); err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	return r.result, nil
}

// ask has the transfer service pull once.
func (r *run) ask(ctx context.Context, settings source.TransferSettings, t *transferProgress) error {
	pl := r.plan
	unlock, err := r.scheduler.transfers.Lock(ctx, "")
	if err != nil {
		return err
	}
	defer unlock()
	watched, stop := r.scheduler.guard.Watch(ctx)
	defer stop()
	return refusedThere(pl, r.p.Store.Transfer(watched, store.Transfer{
		Source: r.p.transferRef(pl), Name: pl.Name, Platforms: pl.platforms(), Unpack: pl.Request.Unpack != UnpackNever,
		Metadata: !pl.Request.SkipMetadata, Labels: pl.Request.Labels,
		PlainHTTP: settings.PlainHTTP, HostsDir: settings.HostsDir, Credentials: settings.Credentials, Progress: t.report,
	}))
}

// transferInstead has the transfer service pull what failed because neither this
// process nor the daemon's diff service can unpack.
func (r *run) transferInstead(ctx context.Context, cause error) (*Result, error) {
	pl := *r.plan
	err := r.p.transferable(ctx, pl.Request)
	if err == nil {
		pl.Request.Engine, pl.EngineReason = EngineTransfer, store.ErrNoApplier.Error()
		var result *Result
		instead := r.p.newRun(pl)
		instead.ledger, instead.scheduler = r.ledger, r.scheduler
		instead.ledger.add(r.unpacker.Fetched())
		if result, err = instead.transfer(ctx); err == nil {
			return result, nil
		}
	}
	return nil, r.p.fail(ctx, StageFetch, pl.Request.Ref, fmt.Errorf("%w; nor can it do the whole pull: %w", cause, err))
}

// transferable is nil if the daemon's transfer service can carry out r with
// everything that was asked for.
func (p *Puller) transferable(ctx context.Context, r Request) error {
	if len(r.NotForTransfer) > 0 {
		return failure.New(errdefs.ErrFailedPrecondition, "engine transfer cannot honour %s", strings.Join(r.NotForTransfer, ", "))
	}
	if _, err := p.transferSettings(ctx, r.Ref); err != nil {
		return err
	}
	return p.Store.CanTransfer(ctx)
}

// transferSettings asks the source how the daemon could pull ref in its place.
func (p *Puller) transferSettings(ctx context.Context, ref source.Ref) (source.TransferSettings, error) {
	from, ok := p.Source.(source.Transferable)
	if !ok {
		return source.TransferSettings{}, failure.New(errdefs.ErrFailedPrecondition, "the daemon cannot read where %s is pulled from", ref)
	}
	return from.TransferSettings(ctx, ref)
}

// transferRef is what the daemon resolves: what was judged here must not be
// another image by then.
func (p *Puller) transferRef(pl *Plan) string {
	ref := pl.Request.Ref
	if p.Verifier != nil {
		ref.Digest = pl.Verified
	}
	return ref.String()
}

// checkTarget wants the record to point where the plan does: the daemon has
// resolved the reference itself.
func (r *run) checkTarget(ctx context.Context) error {
	image, err := r.p.Store.Image(ctx, r.plan.Name)
	switch {
	case err != nil:
		return err
	case image == nil:
		return failure.New(errdefs.ErrDataLoss, "there is no image record of %s", r.plan.Name)
	case image.Target.Digest != r.plan.Target.Digest:
		return failure.New(errdefs.ErrDataLoss, "it registered %s as %s, want %s", image.Target.Digest, r.plan.Name, r.plan.Target.Digest)
	}
	return nil
}

// platforms are those of the selected images.
func (pl *Plan) platforms() []ocispec.Platform {
	var all []ocispec.Platform
	for _, sel := range pl.Images {
		all = append(all, platforms.Normalize(sel.Platform))
	}
	return all
}

// transferProgress turns the daemon's events into those of a pull. They come one
// at a time, and only at intervals: a stage that was short is never reported.
type transferProgress struct {
	p       *Puller
	ref     source.Ref
	before  holding
	fetched map[digest.Digest]bool // layers that were reported to be
}

func (t *transferProgress) report(now transfer.Progress) {
	if now.Desc == nil || !strings.HasPrefix(now.Name, "layer") {
		return
	}
	e := progress.Event{
		Ref: t.ref.Name, Blob: progress.Layer, Digest: now.Desc.Digest, MediaType: now.Desc.MediaType,
		Bytes: progress.Bytes{Done: now.Progress, Total: now.Desc.Size},
	}
	switch now.Event {
	case "downloading":
		if t.before.lacks(e.Digest) {
			t.emit(e, progress.FetchProgress)
		}
	case "complete":
		t.done(e)
	case "extracting":
		t.done(e)
		t.emit(e, progress.UnpackProgress)
	case "extracted":
		t.done(e)
		e.Bytes = progress.Bytes{} // the daemon counts compressed bytes
		t.emit(e, progress.UnpackDone)
	}
}

func (t *transferProgress) emit(e progress.Event, kind progress.Kind) {
	e.Kind = kind
	t.p.Progress.Emit(e)
}

// done reports, once, that a layer was fetched. What the daemon says of one that
// it had is left to the end: it counts the bytes of other namespaces as fetched.
func (t *transferProgress) done(e progress.Event) {
	if t.fetched[e.Digest] || !t.before.lacks(e.Digest) {
		return
	}
	t.fetched[e.Digest] = true
	e.Bytes.Done = e.Bytes.Total
	t.emit(e, progress.FetchDone)
}

// holding is what the daemon has of a plan before it transfers the image.
type holding struct {
	lacking   map[digest.Digest]bool // blobs of the plan that the namespace does not have
	elsewhere map[digest.Digest]bool // those of them that another namespace has
	kept      map[digest.Digest]bool // documents of other platforms that it has
}

// lacks reports whether a blob of the plan has to come over the network.
func (h holding) lacks(dgst digest.Digest) bool { return h.lacking[dgst] && !h.elsewhere[dgst] }

func (p *Puller) holds(ctx context.Context, pl *Plan) (holding, error) {
	blobs, err := p.askBlobs(ctx, pl)
	if err != nil {
		return holding{}, err
	}
	h := holding{lacking: map[digest.Digest]bool{}, kept: map[digest.Digest]bool{}}
	for _, d := range pl.Kept {
		h.kept[d.Desc.Digest] = true
	}
	for desc := range pl.blobs {
		if !blobs[desc.Digest].IsThere() {
			h.lacking[desc.Digest] = true
		}
	}
	h.elsewhere, err = p.Store.Elsewhere(ctx, slices.Collect(maps.Keys(h.lacking)))
	return h, err
}

// askBlobs asks for every blob of pl and for what is kept of other platforms.
func (p *Puller) askBlobs(ctx context.Context, pl *Plan) (map[digest.Digest]store.Blob, error) {
	s := p.newSurvey(pl)
	err := s.askContents(ctx)
	if err == nil {
		err = s.askOthers(ctx)
	}
	pl.Kept = s.kept
	return s.found.Blobs, err
}

// countTransfer counts as fetched what the namespace has now and did not have
// before, except what the daemon had in another one. Documents that the plan
// needed count once.
func (r *run) countTransfer(ctx context.Context, t *transferProgress) error {
	blobs, err := r.p.askBlobs(ctx, r.plan)
	if err != nil {
		return err
	}
	fetched := r.ledger.all()
	for desc := range r.plan.blobs {
		if t.before.lacks(desc.Digest) && blobs[desc.Digest].IsThere() {
			fetched[desc.Digest] = desc.Size
		}
	}
	var added []digest.Digest
	for _, d := range r.plan.Kept {
		r.ledger.want(d.Desc)
		if !t.before.kept[d.Desc.Digest] {
			added = append(added, d.Desc.Digest)
		}
	}
	elsewhere, err := r.p.Store.Elsewhere(ctx, added)
	if err != nil {
		return err
	}
	for _, d := range r.plan.Kept {
		if slices.Contains(added, d.Desc.Digest) && !elsewhere[d.Desc.Digest] {
			fetched[d.Desc.Digest] = d.Desc.Size
		}
	}
	r.ledger.setFetched(fetched)
	r.settle(t.fetched)
	r.count(nil)
	return nil
}

// settle reports of every blob but those that were told of whether it came over
// the network.
func (r *run) settle(told map[digest.Digest]bool) {
	fetched := r.ledger.all()
	told = maps.Clone(told)
	settle := func(e progress.Event) {
		if told[e.Digest] {
			return
		}
		told[e.Digest] = true
		e.Kind, e.Ref = progress.Present, r.plan.Name
		if fetched[e.Digest] > 0 {
			e.Kind, e.Bytes.Done = progress.FetchDone, e.Bytes.Total
		}
		r.p.Progress.Emit(e)
	}
	for _, d := range slices.Concat(r.plan.Documents, r.plan.Kept) {
		settle(d.event())
	}
	for _, sel := range r.plan.Images {
		sel.layerEvents(func(e progress.Event) bool { settle(e); return true })
	}
}
