package root

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Sweep implements store.Backend. It collects the root after the leases are gone,
// and removes what has no record: the metadata of a pull that was killed may be
// older than its files. The dry run is containerd's own collection on a copy of
// the metadata, over stores that delete nothing.
func (r *root) Sweep(ctx context.Context, stale []leases.Lease, dryRun bool) (store.Sizes, error) {
	if r.looking && !dryRun {
		return nil, errLooking()
	}
	before, err := r.inventory(ctx)
	if err != nil {
		return nil, err
	}
	if dryRun {
		return r.trial(ctx, stale, before)
	}
	if err := store.DeleteLeases(ctx, r.parts.Leases, stale); err != nil {
		return nil, err
	}
	if err := r.Collect(ctx, store.GarbageNow); err != nil {
		return nil, err
	}
	return before, errors.Join(r.removeUnknown(ctx), r.subtract(ctx, before), r.flush())
}

// trial finds out what a collection would remove of before.
func (r *root) trial(ctx context.Context, stale []leases.Lease, before store.Sizes) (store.Sizes, error) {
	copied, err := r.metadata.copy()
	if err != nil {
		return nil, fmt.Errorf("copying the metadata: %w", err)
	}
	defer copied.close()
	mdb := metadata.NewDB(copied, tiedContent{r.blobs}, map[string]snapshots.Snapshotter{r.parts.Name: tiedSnapshotter{r.snapshotter}})
	if err := store.DeleteLeases(ctx, metadata.NewLeaseManager(mdb), stale); err != nil {
		return nil, err
	}
	if _, err := mdb.GarbageCollect(ctx); err != nil {
		return nil, err
	}
	left, err := known(copied.memory, r.parts.Name)
	maps.DeleteFunc(before, func(r leases.Resource, _ int64) bool { return left[r] })
	return before, err
}

// tiedContent and tiedSnapshotter remove nothing.
type tiedContent struct{ content.Store }

func (tiedContent) Delete(context.Context, digest.Digest) error { return nil }
func (tiedContent) Abort(context.Context, string) error         { return nil }

type tiedSnapshotter struct{ snapshots.Snapshotter }

func (tiedSnapshotter) Remove(context.Context, string) error { return nil }
func (tiedSnapshotter) Cleanup(context.Context) error        { return nil }

// inventory is everything on disk, of all namespaces, under the names that
// the content store and the snapshotter below the metadata have for it.
func (r *root) inventory(ctx context.Context) (store.Sizes, error) {
	all := store.Sizes{}
	err := r.blobs.Walk(ctx, func(info content.Info) error {
		all[leases.Resource{ID: info.Digest.String(), Type: store.ResourceContent}] = info.Size
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing blobs: %w", err)
	}
	ingests, err := r.blobs.ListStatuses(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing ingests: %w", err)
	}
	for _, in := range ingests {
		all[leases.Resource{ID: in.Ref, Type: store.ResourceIngest}] = in.Offset
	}
	nameless, err := r.blobs.Nameless()
	if err != nil {
		return nil, fmt.Errorf("listing ingests: %w", err)
	}
	for dir, size := range nameless {
		all[leases.Resource{ID: dir, Type: store.ResourceIngest}] = size
	}
	err = r.snapshotter.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		size, err := store.SnapshotSize(ctx, r.snapshotter, info.Name)
		all[leases.Resource{ID: info.Name, Type: store.ResourceSnapshot + r.parts.Name}] = size
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) { // a snapshotter that never had one
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	return all, nil
}

// subtract leaves of before what is not there any more.
func (r *root) subtract(ctx context.Context, before store.Sizes) error {
	after, err := r.inventory(ctx)
	maps.DeleteFunc(before, func(r leases.Resource, _ int64) bool { _, still := after[r]; return still })
	return err
}

// removeUnknown removes blobs, ingests and snapshots without a record.
func (r *root) removeUnknown(ctx context.Context) error {
	all, err := known(r.metadata.memory, r.parts.Name)
	if err != nil {
		return err
	}
	return errors.Join(r.removeUnknownContent(ctx, all), r.removeUnknownSnapshots(ctx, all))
}

func (r *root) removeUnknownContent(ctx context.Context, known map[leases.Resource]bool) error {
	err := r.blobs.Walk(ctx, func(info content.Info) error {
		if known[leases.Resource{ID: info.Digest.String(), Type: store.ResourceContent}] {
			return nil
		}
		return r.blobs.Delete(ctx, info.Digest)
	})
	if err != nil {
		return fmt.Errorf("removing blobs without a record: %w", err)
	}
	ingests, err := r.blobs.ListStatuses(ctx)
	for _, in := range ingests {
		if !known[leases.Resource{ID: in.Ref, Type: store.ResourceIngest}] {
			err = errors.Join(err, r.blobs.Abort(ctx, in.Ref))
		}
	}
	nameless, nerr := r.blobs.Nameless()
	err = errors.Join(err, nerr)
	for dir := range nameless {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("removing ingests without a record: %w", store.Denied(err))
	}
	return nil
}
