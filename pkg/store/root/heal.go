package root

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// The functions of this file do, when a root is opened, what a pull that was
// killed could not do. A daemon does the same at its first garbage collection.

// forget removes the snapshots that the metadata database does not know: those
// of a pull that was killed after the snapshotter's database was written and
// before that one was. Their names may be given out again.
func (r *root) forget(sn snapshots.Snapshotter) error {
	all, err := known(r.metadata.memory, r.parts.Name)
	if err != nil {
		return err
	}
	return r.removeUnknownSnapshots(context.Background(), sn, all)
}

// removeUnknownSnapshots goes from the top down: a snapshot that has others on
// it cannot be removed. One that is known stays, with all below it.
func (r *root) removeUnknownSnapshots(ctx context.Context, sn snapshots.Snapshotter, known map[leases.Resource]bool) error {
	parents, err := parentsOf(ctx, sn)
	for err == nil {
		below := map[string]bool{}
		for _, parent := range parents {
			below[parent] = true
		}
		removed := false
		for name := range parents {
			if known[leases.Resource{ID: name, Type: store.ResourceSnapshot + r.parts.Name}] || below[name] || err != nil {
				continue
			}
			err = sn.Remove(ctx, name)
			delete(parents, name)
			removed = true
		}
		if !removed {
			return nil
		}
	}
	return fmt.Errorf("removing snapshots without a record: %w", err)
}

// parentsOf lists the snapshots of sn, each with the name of the one below it.
func parentsOf(ctx context.Context, sn snapshots.Snapshotter) (map[string]string, error) {
	parents := map[string]string{}
	err := sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		parents[info.Name] = info.Parent
		return nil
	})
	if errdefs.IsNotFound(err) { // so it calls an empty database
		err = nil
	}
	return parents, err
}

// sweep removes the folders of snapshots that a pull made after its last flush,
// before it was killed. The next snapshots will get the same numbers, and could
// not be made beside them.
func sweep(dir *os.File, sn snapshots.Snapshotter) error {
	cleaner, ok := sn.(snapshots.Cleaner)
	if !ok {
		return nil
	}
	err := cleaner.Cleanup(context.Background())
	if errdefs.IsNotFound(err) { // the database knows of no snapshot at all
		err = emptyBeneath(dir, "snapshots")
	}
	if err != nil {
		return fmt.Errorf("removing unknown snapshots: %w", err)
	}
	return nil
}

// emptyBeneath removes everything in a folder of dir.
func emptyBeneath(dir *os.File, name string) error {
	f, err := beneath.Open(dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	return store.Empty(f)
}
