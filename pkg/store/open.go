package store

import (
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
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// The folders of a containerd root, with the modes that containerd gives them.
const (
	contentDir  = "io.containerd.content.v1.content"
	metadataDir = "io.containerd.metadata.v1.bolt"
	snapshotDir = "io.containerd.snapshotter.v1."

	rootMode     = 0o700
	contentMode  = 0o755
	metadataMode = 0o711

	// lockTimeout is how long we wait for bolt's file lock. A daemon holds it
	// as long as it runs.
	lockTimeout = 1500 * time.Millisecond

	schemaBucket  = "v1"
	schemaVersion = 4 // of the metadata database that this library writes
)

// Open opens the root folder o.Root, creating it if need be, with containerd's
// own packages in this process. Pulls of ours into one root wait for each
// other; a daemon that holds it makes Open fail with ErrBusy within 2 s.
func Open(ctx context.Context, o Options) (*Store, error) {
	name := o.Snapshotter
	if name == "" {
		name = defaultSnapshotter
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("finding root %q: %w", o.Root, err)
	}
	if err := os.MkdirAll(root, rootMode); err != nil {
		return nil, fmt.Errorf("creating root: %w", err)
	}
	lock, err := lockRoot(ctx, root)
	if err != nil {
		return nil, err
	}
	s, err := open(root, name, namespaceOr(o.Namespace))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	closeStore := s.close
	s.close = func() error { return errors.Join(closeStore(), lock.Close()) }
	return s, nil
}

// lockRoot waits until no other pull of ours works on root. The lock is on the
// folder itself, so that it leaves nothing behind.
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

func open(root, name, ns string) (*Store, error) {
	db, err := openMetadata(root)
	if err != nil {
		return nil, err
	}
	s, err := wire(root, name, ns, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func wire(root, name, ns string, db *bolt.DB) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(root, contentDir), contentMode); err != nil {
		return nil, fmt.Errorf("creating the content store: %w", err)
	}
	blobs, err := local.NewStore(filepath.Join(root, contentDir))
	if err != nil {
		return nil, fmt.Errorf("opening the content store: %w", err)
	}
	sn, capabilities, err := openSnapshotter(root, name)
	if err != nil {
		return nil, err
	}
	mdb := metadata.NewDB(db, blobs, map[string]snapshots.Snapshotter{name: sn})
	if err := mdb.Init(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the metadata database: %w", err), sn.Close())
	}
	return &Store{
		Content:      mdb.ContentStore(),
		Images:       metadata.NewImageStore(mdb),
		Leases:       metadata.NewLeaseManager(mdb),
		Snapshotter:  mdb.Snapshotter(name),
		Applier:      apply.NewFileSystemApplier(mdb.ContentStore()),
		Namespace:    ns,
		Name:         name,
		Capabilities: capabilities,
		Embedded:     true,
		collect: func(ctx context.Context) error {
			_, err := mdb.GarbageCollect(ctx)
			return err
		},
		close: func() error { return errors.Join(sn.Close(), db.Close()) },
	}, nil
}

// openMetadata opens meta.db with the options that containerd uses, so that a
// daemon finds it as if it had written it.
func openMetadata(root string) (*bolt.DB, error) {
	dir := filepath.Join(root, metadataDir)
	if err := os.MkdirAll(dir, metadataMode); err != nil {
		return nil, fmt.Errorf("creating the metadata folder: %w", err)
	}
	o := *bolt.DefaultOptions
	o.Timeout = lockTimeout
	o.NoFreelistSync = true
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o644, &o)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: containerd is running on %s; stop it, or use --address", ErrBusy, root)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the metadata database: %w", err)
	}
	if err := checkSchema(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkSchema refuses a database that a newer containerd wrote.
func checkSchema(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte(schemaBucket))
		if bucket == nil {
			if key, _ := tx.Cursor().First(); key != nil {
				return fmt.Errorf("metadata database has an unknown schema %q: %w", key, errdefs.ErrInvalidArgument)
			}
			return nil
		}
		version, n := binary.Varint(bucket.Get([]byte("version")))
		if n > 0 && version > schemaVersion {
			return fmt.Errorf("metadata database has schema version %d, newer than %d: %w", version, schemaVersion, errdefs.ErrInvalidArgument)
		}
		return nil
	})
}

func openSnapshotter(root, name string) (snapshots.Snapshotter, []string, error) {
	dir := filepath.Join(root, snapshotDir+name)
	var sn snapshots.Snapshotter
	var err error
	var capabilities []string
	switch name {
	case defaultSnapshotter:
		sn, err = overlay.NewSnapshotter(dir)
		if !userns.RunningInUserNS() { // there whiteouts cannot be made without the parent
			capabilities = append(capabilities, snapshots.RebaseCap)
		}
	case nativeSnapshotter:
		sn, err = native.NewSnapshotter(dir)
	default:
		return nil, nil, fmt.Errorf("snapshotter %q in an embedded root: %w; use overlayfs or native", name, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening snapshotter %s: %w; another one: --snapshotter native", name, err)
	}
	return sn, capabilities, nil
}
