package root

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// Files implements store.Backend.
func (r *root) Files(context.Context) store.Files { return r }

// BlobDamage implements store.Files.
func (r *root) BlobDamage(_ context.Context, info content.Info) (string, error) {
	return contentdir.Damage(r.folders.content, "", info.Digest, info.Size)
}

// Drop implements store.Backend. The file goes at once, whatever other namespaces
// have of it: once it is written again, theirs is there again as well. It goes before
// the record, since a file without one is taken for the blob.
func (r *root) Drop(ctx context.Context, dgst digest.Digest) error {
	if err := r.blobs.Discard(dgst); err != nil {
		return err
	}
	return r.parts.Content.Delete(ctx, dgst)
}

// ChainDamage implements store.Files.
func (r *root) ChainDamage(ctx context.Context, chain []digest.Digest) ([]string, error) {
	damage := make([]string, len(chain))
	for i, name := range chain {
		dir, err := r.folder(ctx, name.String())
		if err != nil {
			return nil, err
		}
		if dir == "" {
			continue // it was made after the root was opened
		}
		if damage[i], err = folderDamage(dir); err != nil {
			return nil, err
		}
	}
	return damage, nil
}

// folderDamage says what is wrong with a folder, and is empty if nothing is.
func folderDamage(dir string) (string, error) {
	switch info, err := os.Lstat(dir); {
	case errors.Is(err, os.ErrNotExist):
		return "its folder is gone", nil
	case err != nil:
		return "", fmt.Errorf("looking at the folder of a snapshot: %w", err)
	case !info.IsDir():
		return "in place of its folder there is something else", nil
	}
	return "", nil
}

// folder is where the files of the snapshot name lie, "" if that is not known.
func (r *root) folder(ctx context.Context, name string) (string, error) {
	inner, err := r.nameBelow(name)
	if err != nil || inner == "" {
		return "", err
	}
	id, err := r.folderID(ctx, inner)
	if err != nil || id == "" {
		return "", err
	}
	return r.folderOf(id), nil
}

// folderOf is where the snapshotter keeps the files of the snapshot with that
// number.
func (r *root) folderOf(id string) string {
	dir := filepath.Join(r.snapshotDir(), "snapshots", id)
	if r.overlay != nil {
		dir = filepath.Join(dir, "fs")
	}
	return dir
}

// nameBelow is what the snapshotter below the metadata calls the snapshot name, ""
// if there is no record of it.
func (r *root) nameBelow(name string) (inner string, err error) {
	err = r.metadata.View(func(tx *bolt.Tx) error {
		b := below(tx.Bucket([]byte(schemaBucket)), r.parts.Namespace, "snapshots", r.parts.Name, name)
		if b != nil {
			inner = string(b.Get([]byte("name")))
		}
		return nil
	})
	return inner, err
}

// folderID is the number of a snapshot, which is the name of its folder; "" if it
// is not known.
func (r *root) folderID(ctx context.Context, inner string) (id string, err error) {
	if r.overlay == nil {
		return r.numbers[inner], nil
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

// readNumbers reads the numbers of all snapshots out of the database of a
// snapshotter that does not show it, before it is opened. Those of snapshots that
// are made later are not known. It has the layout of containerd's
// core/snapshots/storage/bolt.go:
//
//	v1/snapshots/NAME/id
func readNumbers(path string) (map[string]string, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	numbers := map[string]string{}
	err = db.View(func(tx *bolt.Tx) error {
		return eachBucket(below(tx.Bucket([]byte(schemaBucket)), "snapshots"), func(name string, b *bolt.Bucket) error {
			id, _ := binary.Uvarint(b.Get([]byte("id")))
			numbers[name] = strconv.FormatUint(id, 10)
			return nil
		})
	})
	return numbers, errors.Join(err, db.Close())
}
