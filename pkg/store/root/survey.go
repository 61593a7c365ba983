package root

import (
	"context"
	"fmt"
	"path"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
	"github.com/containerd-pull/containerd-pull/pkg/store/snapshotdir"
)

// Files implements store.Backend.
func (r *root) Files(context.Context) store.Files { return r }

// BlobDamage implements store.Files.
func (r *root) BlobDamage(_ context.Context, info content.Info) (string, error) {
	return contentdir.Damage(r.place.dir, contentDir, info.Digest, info.Size)
}

// Drop implements store.Backend. The file goes at once, whatever other namespaces
// have of it: once it is written again, theirs is there again as well. It goes before
// the record, since a file without one is taken for the blob.
func (r *root) Drop(ctx context.Context, desc ocispec.Descriptor) error {
	if err := r.blobs.Discard(desc.Digest); err != nil {
		return err
	}
	return r.parts.Content.Delete(ctx, desc.Digest)
}

// ChainDamage implements store.Files.
func (r *root) ChainDamage(ctx context.Context, chain []digest.Digest) ([]string, error) {
	damage := make([]string, len(chain))
	for i, name := range chain {
		inner, err := r.nameBelow(name.String())
		if err != nil {
			return nil, err
		}
		id, err := r.folderID(ctx, inner)
		if err != nil {
			return nil, err
		}
		if id == "" {
			continue // the snapshotter has lost it: it is looked for by its record
		}
		usage, err := r.snapshotter.Usage(ctx, inner)
		if errdefs.IsNotFound(err) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("looking up the files of snapshot %s: %w", name, err)
		}
		folder := path.Join(snapshotDir+r.parts.Name, snapshotdir.Folder(r.parts.Name, id))
		switch {
		case r.parts.Name != store.Erofs:
			damage[i], err = store.FolderDamage(r.place.dir, folder, usage.Inodes)
		case !r.numbers.Records[inner].Cached:
			damage[i], err = store.ImageDamage(r.place.dir, folder)
		}
		if err != nil {
			return nil, err
		}
	}
	return damage, nil
}

// Refill implements store.Backend. Where the snapshotter has lost its record, that of
// the metadata is kept, with everything that is on top of it: what the snapshotter
// commits gets the name that is expected there.
func (r *root) Refill(ctx context.Context, name, key string, u *store.Upper) error {
	inner, err := r.nameBelow(name)
	if err != nil {
		return err
	}
	id, err := r.folderID(ctx, inner)
	if err != nil {
		return err
	}
	if id != "" {
		return u.Move(snapshotdir.Folder(r.parts.Name, id))
	}
	return r.recommit(ctx, inner, name, key)
}

// recommit commits the snapshot key under the inner name.
func (r *root) recommit(ctx context.Context, inner, name, key string) error {
	innerKey, err := r.nameBelow(key)
	if err != nil {
		return err
	}
	parent, err := r.parentBelow(name)
	if err != nil {
		return err
	}
	info, err := r.snapshotter.Stat(ctx, innerKey)
	if err != nil {
		return err
	}
	var opts []snapshots.Opt
	if info.Parent != parent {
		opts = append(opts, snapshots.WithParent(parent))
	}
	return r.snapshotter.Commit(ctx, inner, innerKey, opts...)
}

// parentBelow is the inner name of the parent that the metadata has of the snapshot
// name, "" if there is none.
func (r *root) parentBelow(name string) (string, error) {
	parent, err := r.recorded(name, "parent")
	if err != nil || parent == "" {
		return "", err
	}
	return r.nameBelow(parent)
}

// nameBelow is what the snapshotter below the metadata calls the snapshot name, ""
// if there is no record of it.
func (r *root) nameBelow(name string) (string, error) { return r.recorded(name, "name") }

// recorded reads a field of the record that the metadata has of a snapshot.
func (r *root) recorded(name, field string) (value string, err error) {
	err = r.metadata.View(func(tx *bolt.Tx) error {
		b := below(tx.Bucket([]byte(schemaBucket)), r.parts.Namespace, "snapshots", r.parts.Name, name)
		if b != nil {
			value = string(b.Get([]byte(field)))
		}
		return nil
	})
	return value, err
}

// folderID is the number of a snapshot, which is the name of its folder; "" if it
// is not known.
func (r *root) folderID(ctx context.Context, inner string) (id string, err error) {
	if r.overlay == nil {
		if of, known := r.numbers.Records[inner]; known {
			return snapshotdir.Format(of.ID), nil
		}
		return r.made.number(inner), nil
	}
	err = r.overlay.WithTransaction(ctx, false, func(ctx context.Context) error {
		id, _, _, err = storage.GetInfo(ctx, inner)
		return err
	})
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	return id, err
}
