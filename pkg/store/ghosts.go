package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

// RemoveGhosts removes the records of a chain's snapshots, bottom first, that the
// snapshotter has lost: with its database, or because its folder is another one now.
// containerd neither shows such a record nor makes the snapshot anew beside it. The
// ghosts of other images on top of the chain go first. One that is below something
// else, such as a container, stays.
func (s *Store) RemoveGhosts(ctx context.Context, chain []digest.Digest) error {
	done, err := s.removeGhosts(ctx, chain)
	if done || err != nil {
		return err
	}
	others, err := s.unpackedChains(ctx)
	for _, other := range others {
		if err == nil && slices.Contains(other, chain[0]) {
			_, err = s.removeGhosts(ctx, other)
		}
	}
	if err == nil {
		_, err = s.removeGhosts(ctx, chain)
	}
	return err
}

// removeGhosts removes those that are ghosts, from the top down. It is not done if
// something else is on top of one. They come under the lease of ctx before: of those
// that a collection removes, a mark stays at the snapshot below, which then cannot be
// removed any more (core/metadata/gc.go in containerd).
func (s *Store) removeGhosts(ctx context.Context, chain []digest.Digest) (done bool, err error) {
	for _, id := range chain {
		if err := s.lease(ctx, leases.Resource{ID: id.String(), Type: ResourceSnapshot + s.Name}); err != nil {
			return false, err
		}
	}
	for _, id := range slices.Backward(chain) {
		if has, err := s.Has(ctx, id.String()); has || err != nil {
			return true, err
		}
		err := s.Snapshotter.Remove(ctx, id.String())
		switch {
		case errdefs.IsFailedPrecondition(err):
			return false, nil
		case err != nil && !errdefs.IsNotFound(err):
			return false, fmt.Errorf("removing the record of snapshot %s, which the snapshotter has lost: %w", id, err)
		}
	}
	return true, nil
}

// unpackedChains are those of all images that were unpacked, as their configs say.
func (s *Store) unpackedChains(ctx context.Context) (all [][]digest.Digest, err error) {
	var configs []ocispec.Descriptor
	err = s.Content.Walk(ctx, func(info content.Info) error {
		if info.Size <= image.MaxConfig {
			configs = append(configs, ocispec.Descriptor{Digest: info.Digest, Size: info.Size})
		}
		return nil
	}, fmt.Sprintf("labels.%q", image.LabelSnapshot+s.Name))
	if err != nil {
		return nil, fmt.Errorf("listing the configs of images: %w", err)
	}
	for _, desc := range configs {
		var config image.Config
		if body, err := s.Document(ctx, desc); err == nil && image.Decode(body, &config) == nil {
			all = append(all, identity.ChainIDs(config.RootFS.DiffIDs))
		}
	}
	return all, nil
}
