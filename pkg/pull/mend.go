package pull

import (
	"context"
	"errors"
	"maps"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// rounds is how often what other clients removed is fetched again.
const rounds = 3

// vanished reports whether err says that something which was in the store is
// not there any more: another client removes what a pull is about to use. What
// a registry does not have is another matter.
func vanished(err error) bool {
	return errdefs.IsNotFound(err) && !errors.As(err, new(*source.Error))
}

// mend fetches layers again that were removed after they had been unpacked.
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
	found, err := r.p.Store.Survey(ctx, store.Wanted{Blobs: []ocispec.Descriptor{desc}})
	if err != nil || found.Blobs[desc.Digest].IsThere() {
		return err
	}
	r.p.warn(r.plan.Request.Ref, "layer %s was removed meanwhile and is fetched again", desc.Digest)
	from := fetch.Source{Ref: r.source.Ref, Labels: maps.Clone(r.source.Labels)}
	from.Labels[labels.LabelUncompressed] = diffID.String()
	return r.unpacker.Fetch(ctx, unpack.Image{Source: from, Layers: []ocispec.Descriptor{desc}})
}
