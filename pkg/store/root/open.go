// Package root is the store.Backend of a folder on disk, laid out as containerd's
// root: containerd's own packages work in this process, and a daemon that is
// started on the folder later finds what it would have written.
//
// Metadata is worked on in memory and written in whole (shadow.go), and what a
// killed pull left is mended when the root is opened (heal.go). Read Open first,
// then root.flush for the order in which things reach the disk.
package root

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	ns "github.com/moby/sys/userns"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

// The folders of a containerd root, with the modes that containerd gives them.
const (
	contentDir  = "io.containerd.content.v1.content"
	metadataDir = "io.containerd.metadata.v1.bolt"
	snapshotDir = "io.containerd.snapshotter.v1."

	rootMode     = 0o700
	contentMode  = 0o755
	metadataMode = 0o711

	// lockTimeout is how long bolt's file lock is waited for. A daemon holds it
	// as long as it runs.
	lockTimeout = 1500 * time.Millisecond

	schemaBucket  = "v1"
	schemaVersion = 4 // of the metadata database that this library writes
)

// Open opens the root folder o.Root, creating it if need be, with containerd's
// own packages in this process. Pulls into one root wait for each other; a daemon
// that holds it makes Open fail with store.ErrBusy within 2 s.
func Open(ctx context.Context, o store.Options) (*store.Store, error) {
	o = o.WithDefaults()
	dir, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("finding root %q: %w", o.Root, err)
	}
	if err := os.MkdirAll(dir, rootMode); err != nil {
		return nil, fmt.Errorf("creating root: %w", err)
	}
	lock, err := lockRoot(ctx, dir)
	if err != nil {
		return nil, err
	}
	r, err := open(dir, cmp.Or(o.Snapshotter, store.Overlayfs), o.Namespace)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	r.lock = lock
	return store.New(r), nil
}

// lockRoot waits until no other pull works on root. The lock is on the folder
// itself, so that it leaves nothing behind.
func lockRoot(ctx context.Context, root string) (*os.File, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("opening root: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking root %s: %w", root, err), f.Close())
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for another pull into %s: %w", root, context.Cause(ctx)), f.Close())
		}
	}
}

func open(dir, snapshotter, ns string) (*root, error) {
	r := &root{dir: dir, stop: make(chan struct{}), stopped: make(chan struct{})}
	r.parts = store.Parts{Namespace: ns, Name: snapshotter, Hasher: multibuffer.New()}
	var err error
	if r.metadata, err = openMetadata(dir); err != nil {
		return nil, err
	}
	if err := r.wire(); err != nil {
		return nil, errors.Join(err, r.release())
	}
	go r.flushNow()
	return r, nil
}

// wire puts containerd's metadata on top of the content folder and the
// snapshotter.
func (r *root) wire() error {
	if err := os.MkdirAll(r.contentDir(), contentMode); err != nil {
		return fmt.Errorf("creating the content store: %w", err)
	}
	var err error
	if r.blobs, err = contentdir.Open(r.contentDir(), r.parts.Hasher, r.settle); err != nil {
		return fmt.Errorf("opening the content store: %w", err)
	}
	if r.folders.content, err = os.Open(r.contentDir()); err != nil {
		return fmt.Errorf("opening the content store: %w", err)
	}
	if r.snapshotter, err = r.openSnapshotter(); err != nil {
		return err
	}
	r.db = metadata.NewDB(r.metadata, r.blobs, map[string]snapshots.Snapshotter{r.parts.Name: r.snapshotter})
	if err := r.db.Init(context.Background()); err != nil {
		return errors.Join(fmt.Errorf("preparing the metadata database: %w", err), r.snapshotter.Close())
	}
	r.parts.Content = r.db.ContentStore()
	r.parts.Images = metadata.NewImageStore(r.db)
	r.parts.Leases = metadata.NewLeaseManager(r.db)
	r.parts.Snapshotter = r.db.Snapshotter(r.parts.Name)
	r.parts.Applier = apply.NewFileSystemApplier(r.parts.Content)
	if ns.RunningInUserNS() && userns.HasOneID() {
		r.parts.Applier = ownerless{r.parts.Content}
	}
	return nil
}

// openMetadata opens meta.db with the options that containerd uses, so that a
// daemon finds it as if it had written it.
func openMetadata(root string) (*shadow, error) {
	dir := filepath.Join(root, metadataDir)
	if err := os.MkdirAll(dir, metadataMode); err != nil {
		return nil, fmt.Errorf("creating the metadata folder: %w", err)
	}
	o := *bolt.DefaultOptions
	o.NoFreelistSync = true
	db, err := openShadow(filepath.Join(dir, "meta.db"), 0o644, o)
	if errors.Is(err, store.ErrBusy) {
		return nil, fmt.Errorf("%w: containerd is running on %s; stop it, or use --address", store.ErrBusy, root)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the metadata database: %w", err)
	}
	if err := checkSchema(db.disk); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

// checkSchema refuses a database that a newer containerd wrote.
func checkSchema(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte(schemaBucket))
		if bucket == nil {
			if key, _ := tx.Cursor().First(); key != nil {
				return failure.New(errdefs.ErrInvalidArgument, "metadata database has an unknown schema %q", key)
			}
			return nil
		}
		version, n := binary.Varint(bucket.Get([]byte("version")))
		if n > 0 && version > schemaVersion {
			return failure.New(errdefs.ErrInvalidArgument, "metadata database has schema version %d, newer than %d", version, schemaVersion)
		}
		return nil
	})
}

// openSnapshotter opens the snapshotter and mends what a killed pull left of it.
func (r *root) openSnapshotter() (snapshots.Snapshotter, error) {
	dir := r.snapshotDir()
	var sn snapshots.Snapshotter
	var err error
	switch r.parts.Name {
	case store.Overlayfs:
		sn, err = r.openOverlay(dir)
		r.rebase = !ns.RunningInUserNS() // there whiteouts cannot be made without the parent
	case store.Native:
		if r.numbers, err = readNumbers(filepath.Join(dir, "metadata.db")); err == nil {
			sn, err = native.NewSnapshotter(dir)
		}
	default:
		return nil, failure.New(errdefs.ErrInvalidArgument, "a root without a daemon has no snapshotter %q; use overlayfs or native", r.parts.Name)
	}
	if err == nil {
		r.folders.snapshots, err = os.Open(dir)
	}
	if err == nil {
		err = r.forget(sn)
	}
	if err == nil && r.overlay != nil {
		err = sweep(r.folders.snapshots, sn)
	}
	if err != nil {
		return nil, fmt.Errorf("opening snapshotter %s: %w; another one: --snapshotter native", r.parts.Name, err)
	}
	return &guarded{Snapshotter: sn, settle: r.settle, overlay: r.overlay}, nil
}

func (r *root) openOverlay(dir string) (snapshots.Snapshotter, error) {
	if err := os.MkdirAll(dir, rootMode); err != nil {
		return nil, err
	}
	var err error
	if r.overlay, err = openSnapshotMeta(filepath.Join(dir, "metadata.db")); err != nil {
		return nil, err
	}
	return overlay.NewSnapshotter(dir, overlay.WithMetaStore(r.overlay))
}
