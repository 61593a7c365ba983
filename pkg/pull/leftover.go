package pull

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// clear gets files out of the way that lie in the place of blobs of pl and have
// another size, as a crash or another tool may leave them. A daemon asks no
// more of a file than to be there: the pull would seem to succeed.
func (p *Puller) clear(ctx context.Context, pl *Plan, room store.FreeSpace) error {
	bad, err := p.misfits(ctx, pl, room)
	if len(bad) == 0 || err != nil {
		return err
	}
	if err := p.Store.Collect(ctx, store.Strays); err != nil {
		return err
	}
	bad, err = p.misfits(ctx, pl, room)
	if len(bad) == 0 || err != nil {
		return err
	}
	return fmt.Errorf("the content store has a file of another size than %d in the place of blob %s, and somebody uses it; containerd-pull verify --repair mends the images of a namespace: %w",
		bad[0].Size, bad[0].Digest, errdefs.ErrDataLoss)
}

// misfits are the blobs of pl in whose place there is a file of another size
// that would be taken for them.
func (p *Puller) misfits(ctx context.Context, pl *Plan, room store.FreeSpace) ([]ocispec.Descriptor, error) {
	var bad []ocispec.Descriptor
	for desc := range pl.blobs {
		if !room.Misfits(desc) {
			continue
		}
		_, err := p.Store.Content.Info(ctx, desc.Digest)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("looking up %s: %w", desc.Digest, err)
		}
		if err == nil || !p.Store.Traits().ReplacesStrays {
			bad = append(bad, desc)
		}
	}
	return bad, nil
}

// blobs yields the documents and layers of pl.
func (pl *Plan) blobs(yield func(ocispec.Descriptor) bool) {
	for _, d := range pl.Documents {
		if !yield(d.Desc) {
			return
		}
	}
	for _, sel := range pl.Images {
		if slices.ContainsFunc(sel.Layers, func(l ocispec.Descriptor) bool { return !yield(l) }) {
			return
		}
	}
}
