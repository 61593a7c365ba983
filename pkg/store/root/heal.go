package root

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// The functions of this file do, when a root is opened for writing, what a pull that
// was killed could not do: they remove what a pull made last, and nothing else. A daemon
// does the same at its first garbage collection, to everything that it does not know.

// forget removes the snapshots that a pull made after the metadata database was
// written the last time, and before it was killed. Their names will be given out again.
func (r *root) forget(sn snapshots.Snapshotter) error {
	return r.metadata.View(func(tx *bolt.Tx) error {
		return r.removeSnapshots(context.Background(), sn, func(name string) bool { return !isTail(tx, r.parts.Name, name) })
	})
}

// removeUnknownSnapshots removes those that the metadata database does not know.
func (r *root) removeUnknownSnapshots(ctx context.Context, known map[leases.Resource]bool) error {
	return r.removeSnapshots(ctx, r.snapshotter, func(name string) bool {
		return known[leases.Resource{ID: name, Type: store.ResourceSnapshot + r.parts.Name}]
	})
}

// removeSnapshots removes all but those to keep, those below them, and writable ones
// that no pull made. It goes from the top down: a snapshot that has others on it cannot
// be removed.
func (r *root) removeSnapshots(ctx context.Context, sn snapshots.Snapshotter, keep func(name string) bool) error {
	all, err := infosOf(ctx, sn)
	for err == nil {
		below := map[string]bool{}
		for _, info := range all {
			below[info.Parent] = true
		}
		removed := false
		for name, info := range all {
			if err != nil || below[name] || keep(name) || isForeign(info) {
				continue
			}
			err = sn.Remove(ctx, name)
			delete(all, name)
			removed = true
		}
		if !removed {
			return nil
		}
	}
	return fmt.Errorf("removing snapshots without a record: %w", err)
}

// isForeign reports whether a snapshot is one that can be written, and that no pull
// made: that of a container.
func isForeign(info snapshots.Info) bool {
	parts := strings.SplitN(info.Name, "/", 3)
	return info.Kind == snapshots.KindActive && !store.IsWorkingKey(parts[len(parts)-1])
}

// foreign lists those of them that the metadata database does not know.
func (r *root) foreign(sn snapshots.Snapshotter) (map[string]bool, error) {
	records, err := known(r.metadata.memory, r.parts.Name)
	if err != nil {
		return nil, err
	}
	all, err := infosOf(context.Background(), sn)
	names := map[string]bool{}
	for name, info := range all {
		names[name] = isForeign(info) && !records[leases.Resource{ID: name, Type: store.ResourceSnapshot + r.parts.Name}]
	}
	return names, err
}

// infosOf lists the snapshots of sn by name.
func infosOf(ctx context.Context, sn snapshots.Snapshotter) (map[string]snapshots.Info, error) {
	all := map[string]snapshots.Info{}
	err := sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		all[info.Name] = info
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) { // so it calls an empty database
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	return all, nil
}

// sweep removes the folders of snapshots that a pull made after its last flush,
// before it was killed, and what was being made or removed then. The next snapshots
// will get the same numbers, and could not be made beside them.
func (p *place) sweep(snapshotter string, n numbers) error {
	dir := filepath.Join(p.path, snapshotDir+snapshotter, "snapshots")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", err)
	}
	known := n.known()
	for _, e := range entries {
		name := e.Name()
		_, err := strconv.ParseUint(name, 10, 64)
		if known[name] || err != nil && !strings.HasPrefix(name, "new-") && !strings.HasPrefix(name, "rm-") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("removing unknown snapshots: %w", err)
		}
	}
	return nil
}
