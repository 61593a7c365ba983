package root

import (
	"context"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Commit implements snapshots.Snapshotter. With a usage it is overlay's without
// the walk.
func (g *guarded) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	usage, known := store.UsageOf(ctx)
	if !known || g.overlay == nil {
		return g.Snapshotter.Commit(ctx, name, key, opts...)
	}
	return g.overlay.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CommitActive(ctx, key, name, usage, opts...)
		return err
	})
}
