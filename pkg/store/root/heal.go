package root

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// The functions of this file make good, when a root is opened, what a pull that
// was killed could not. A daemon does the same at its first garbage collection.

// forget removes the snapshots that the metadata database does not know: those
// of a pull that was killed after the snapshotter's database was written and
// before that one was. Their names may be given out again.
func (r *root) forget(sn snapshots.Snapshotter) error {
	ctx := context.Background()
	unknown, err := r.unknown(ctx, sn)
	if err != nil {
		return err
	}
	for len(unknown) > 0 {
		var parents []string
		for _, key := range unknown {
			err := sn.Remove(ctx, key)
			if errdefs.IsFailedPrecondition(err) { // its children go first
				parents = append(parents, key)
				continue
			}
			if err != nil {
				return fmt.Errorf("removing snapshot %s of a killed pull: %w", key, err)
			}
		}
		if len(parents) == len(unknown) { // somebody else's doing, and no harm
			break
		}
		unknown = parents
	}
	return nil
}

// unknown lists the snapshots that sn has and the metadata database does not.
func (r *root) unknown(ctx context.Context, sn snapshots.Snapshotter) ([]string, error) {
	known, err := r.known()
	if err != nil {
		return nil, fmt.Errorf("reading the metadata database: %w", err)
	}
	var keys []string
	err = sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if !known[info.Name] {
			keys = append(keys, info.Name)
		}
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) { // so it calls an empty database
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	return keys, nil
}

// known lists what the metadata database calls the snapshots, in all namespaces.
func (r *root) known() (map[string]bool, error) {
	names := map[string]bool{}
	return names, r.metadata.View(func(tx *bolt.Tx) error {
		all := tx.Bucket([]byte(schemaBucket))
		if all == nil {
			return nil
		}
		return all.ForEachBucket(func(ns []byte) error {
			bucket := all.Bucket(ns)
			for _, name := range []string{"snapshots", r.parts.Name} {
				if bucket = bucket.Bucket([]byte(name)); bucket == nil {
					return nil
				}
			}
			return bucket.ForEachBucket(func(key []byte) error {
				names[string(bucket.Bucket(key).Get([]byte("name")))] = true
				return nil
			})
		})
	})
}

// sweep removes the folders of snapshots that a pull made after its last flush,
// before it was killed. The next snapshots will get the same numbers, and could
// not be made beside them.
func sweep(dir string, sn snapshots.Snapshotter) error {
	cleaner, ok := sn.(snapshots.Cleaner)
	if !ok {
		return nil
	}
	err := cleaner.Cleanup(context.Background())
	if errdefs.IsNotFound(err) { // the database knows of no snapshot at all
		err = store.Empty(filepath.Join(dir, "snapshots"))
	}
	if err != nil {
		return fmt.Errorf("removing unknown snapshots: %w", err)
	}
	return nil
}
