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
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// delegate lets the daemon carry out the plan of r, and believes it only what
// can be seen afterwards: the documents, the layers and the snapshots.
func (p *Puller) delegate(ctx context.Context, r *run) (*Result, error) {
	pl, ref := r.plan, r.plan.Request.Ref
	to, err := p.delegation(ref)
	if err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	if r.before, err = p.Store.Image(ctx, pl.Name); err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	d := &delegated{p: p, ref: ref, fetched: map[digest.Digest]bool{}}
	err = p.Store.Transfer(ctx, store.Transfer{
		Source: p.transferRef(pl), Name: pl.Name, Platforms: pl.platforms(), Unpack: pl.Request.Unpack != UnpackNever,
		Metadata: !pl.Request.SkipMetadata, Labels: pl.Request.Labels,
		PlainHTTP: to.PlainHTTP, HostsDir: to.HostsDir, Credentials: to.Credentials, Progress: d.report,
	})
	if err = refusedThere(pl, err); err != nil {
		return nil, p.fail(ctx, StageFetch, ref, err)
	}
	for i, sel := range pl.Images {
		r.result.Platforms[i] = sel.unpacked()
	}
	if err := errors.Join(r.checkTarget(ctx), r.check(ctx)); err != nil {
		err = fmt.Errorf("the daemon reports success, but: %w", err)
		return nil, p.fail(ctx, StageFetch, ref, errors.Join(err, r.unregister(ctx)))
	}
	r.result.Engine, r.result.EngineReason = string(EngineTransfer), cmp.Or(pl.EngineReason, "asked for")
	r.count(d.bytes(pl))
	return r.result, nil
}

// delegation asks the source how the daemon could pull ref in its place.
func (p *Puller) delegation(ref source.Ref) (source.Delegation, error) {
	from, ok := p.Source.(source.Delegator)
	if !ok {
		return source.Delegation{}, fmt.Errorf("the daemon cannot read where %s is pulled from: %w", ref, errdefs.ErrFailedPrecondition)
	}
	return from.Delegate(ref)
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
		return fmt.Errorf("there is no image record of %s: %w", r.plan.Name, errdefs.ErrDataLoss)
	case image.Target.Digest != r.plan.Target.Digest:
		return fmt.Errorf("it registered %s as %s, want %s: %w", image.Target.Digest, r.plan.Name, r.plan.Target.Digest, errdefs.ErrDataLoss)
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

// unpacked is what sel will be once it has been pulled.
func (s Selected) unpacked() Platform {
	done := Platform{Platform: s.Platform, Manifest: s.Manifest.Digest, Config: s.Config.Digest, Layers: s.Layers, Unpacked: s.Unpack}
	if n := len(s.DiffIDs); s.Unpack && n > 0 {
		done.ChainID = identity.ChainIDs(append(s.DiffIDs[:0:0], s.DiffIDs...))[n-1]
	}
	return done
}

// delegated turns the daemon's events into ours. They come one at a time, and
// only at intervals: a stage that was short is never reported.
type delegated struct {
	p       *Puller
	ref     source.Ref
	fetched map[digest.Digest]bool
}

func (d *delegated) report(t transfer.Progress) {
	if t.Desc == nil || !strings.HasPrefix(t.Name, "layer") {
		return
	}
	e := progress.Event{
		Ref: d.ref.Name, Blob: progress.Layer, Digest: t.Desc.Digest, MediaType: t.Desc.MediaType,
		Bytes: progress.Bytes{Done: t.Progress, Total: t.Desc.Size},
	}
	switch t.Event {
	case "already exists":
		d.emit(e, progress.Present)
	case "downloading":
		d.emit(e, progress.FetchProgress)
	case "complete":
		d.done(e)
	case "extracting":
		d.done(e)
		d.emit(e, progress.UnpackProgress)
	case "extracted":
		d.done(e)
		e.Bytes = progress.Bytes{} // the daemon counts compressed bytes
		d.emit(e, progress.UnpackDone)
	}
}

func (d *delegated) emit(e progress.Event, kind progress.Kind) {
	e.Kind = kind
	d.p.Progress.Emit(e)
}

// done reports, once, that a layer is in the content store.
func (d *delegated) done(e progress.Event) {
	if d.fetched[e.Digest] {
		return
	}
	d.fetched[e.Digest] = true
	e.Bytes.Done = e.Bytes.Total
	d.emit(e, progress.FetchDone)
}

// bytes is the size of the layers that the daemon fetched.
func (d *delegated) bytes(pl *Plan) int64 {
	var sum int64
	for _, sel := range pl.Images {
		for _, l := range sel.Layers {
			if d.fetched[l.Digest] {
				sum += l.Size
			}
		}
	}
	return sum
}
