package store

import (
	"context"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
)

type usageKey struct{}

// WithUsage tells a Commit of an embedded root's overlayfs what is in the
// snapshot, so that it need not walk over all of it. Other snapshotters take no
// notice. The metadata lies between us and the snapshotter, and passes on no
// more than the context.
func WithUsage(ctx context.Context, usage snapshots.Usage) context.Context {
	return context.WithValue(ctx, usageKey{}, usage)
}

// Commit implements snapshots.Snapshotter. With a usage it is overlay's without
// the walk.
func (g *guarded) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	usage, known := ctx.Value(usageKey{}).(snapshots.Usage)
	if !known || g.overlay == nil {
		return g.Snapshotter.Commit(ctx, name, key, opts...)
	}
	return g.overlay.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CommitActive(ctx, key, name, usage, opts...)
		return err
	})
}
