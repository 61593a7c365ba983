package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	settings, err := p.transferSettings(ref)
	if err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	if r.before, err = p.Store.Image(ctx, pl.Name); err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	t := &transferProgress{p: p, ref: ref, fetched: map[digest.Digest]bool{}}
	err = p.Store.Transfer(ctx, store.Transfer{
		Source: p.transferRef(pl), Name: pl.Name, Platforms: pl.platforms(), Unpack: pl.Request.Unpack != UnpackNever,
		Metadata: !pl.Request.SkipMetadata, Labels: pl.Request.Labels,
		PlainHTTP: settings.PlainHTTP, HostsDir: settings.HostsDir, Credentials: settings.Credentials, Progress: t.report,
	})
	if err = refusedThere(pl, err); err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	if err := errors.Join(r.checkTarget(ctx), p.checkPromised(ctx, pl)); err != nil {
		err = fmt.Errorf("the daemon reports success, but: %w", err)
		return nil, p.fail(ctx, StageFetch, ref, errors.Join(err, r.unregister(ctx)))
	}
	r.result.Engine, r.result.EngineReason = EngineTransfer, cmp.Or(pl.EngineReason, "asked for")
	r.count(t.bytes(pl))
	return r.result, nil
}

// transferInstead has the transfer service pull what failed because neither this
// process nor the daemon's diff service can unpack.
func (r *run) transferInstead(ctx context.Context, cause error) (*Result, error) {
	pl := *r.plan
	err := r.p.transferable(ctx, pl.Request)
	if err == nil {
		pl.Request.Engine, pl.EngineReason = EngineTransfer, store.ErrNoApplier.Error()
		var result *Result
		if result, err = r.p.newRun(pl).transfer(ctx); err == nil {
			result.Fetched += r.unpacker.Fetched() + r.metadata.Load()
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
	if _, err := p.transferSettings(r.Ref); err != nil {
		return err
	}
	return p.Store.CanTransfer(ctx)
}

// transferSettings asks the source how the daemon could pull ref in its place.
func (p *Puller) transferSettings(ref source.Ref) (source.TransferSettings, error) {
	from, ok := p.Source.(source.Transferable)
	if !ok {
		return source.TransferSettings{}, failure.New(errdefs.ErrFailedPrecondition, "the daemon cannot read where %s is pulled from", ref)
	}
	return from.TransferSettings(ref)
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
	fetched map[digest.Digest]bool
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
	case "already exists":
		t.emit(e, progress.Present)
	case "downloading":
		t.emit(e, progress.FetchProgress)
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

// done reports, once, that a layer is in the content store.
func (t *transferProgress) done(e progress.Event) {
	if t.fetched[e.Digest] {
		return
	}
	t.fetched[e.Digest] = true
	e.Bytes.Done = e.Bytes.Total
	t.emit(e, progress.FetchDone)
}

// bytes is the size of the layers that the daemon fetched.
func (t *transferProgress) bytes(pl *Plan) int64 {
	var sum int64
	for _, sel := range pl.Images {
		for _, l := range sel.Layers {
			if t.fetched[l.Digest] {
				sum += l.Size
			}
		}
	}
	return sum
}
