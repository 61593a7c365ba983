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
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
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
	s.root.lock = lock
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

// root is an embedded root that is open.
type root struct {
	dir         string
	lock        *os.File // held as long as it is open
	metadata    *shadow
	db          *metadata.DB  // of containerd, on metadata
	overlay     *snapshotMeta // nil with another snapshotter
	blobs       *contentdir.Folder
	name        string                // of the snapshotter
	snapshotter snapshots.Snapshotter // below the metadata
	stop        chan struct{}         // ends the periodic flush
	stopped     chan struct{}
}

func open(dir, name, ns string) (*Store, error) {
	r := &root{dir: dir, name: name, stop: make(chan struct{}), stopped: make(chan struct{})}
	var err error
	if r.metadata, err = openMetadata(dir); err != nil {
		return nil, err
	}
	s, err := r.wire(ns)
	if err != nil {
		return nil, errors.Join(err, r.release())
	}
	go r.flushNow()
	return s, nil
}

func (r *root) wire(ns string) (*Store, error) {
	dir := filepath.Join(r.dir, contentDir)
	if err := os.MkdirAll(dir, contentMode); err != nil {
		return nil, fmt.Errorf("creating the content store: %w", err)
	}
	hasher := multibuffer.New()
	var err error
	if r.blobs, err = contentdir.Open(dir, hasher, r.settle); err != nil {
		return nil, fmt.Errorf("opening the content store: %w", err)
	}
	var capabilities []string
	if r.snapshotter, capabilities, err = r.openSnapshotter(); err != nil {
		return nil, err
	}
	r.db = metadata.NewDB(r.metadata, r.blobs, map[string]snapshots.Snapshotter{r.name: r.snapshotter})
	if err := r.db.Init(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the metadata database: %w", err), r.snapshotter.Close())
	}
	s := &Store{
		Content:     r.db.ContentStore(),
		Images:      metadata.NewImageStore(r.db),
		Leases:      metadata.NewLeaseManager(r.db),
		Snapshotter: r.db.Snapshotter(r.name),
		Applier:     apply.NewFileSystemApplier(r.db.ContentStore()),
		Namespace:   ns,
		Name:        r.name,
		Embedded:    true,
		Hasher:      hasher,
		sharing:     sharing{capabilities: capabilities},
		root:        r,
	}
	s.traits.Store(&traits{contentRoot: dir, snapshotRoot: r.snapshotDir()})
	return s, nil
}

// snapshotDir is the folder of the snapshotter.
func (r *root) snapshotDir() string { return filepath.Join(r.dir, snapshotDir+r.name) }

// collect removes what nothing refers to.
func (r *root) collect(ctx context.Context) error {
	_, err := r.db.GarbageCollect(ctx)
	return err
}

// flush puts everything on stable storage in the order in which one refers to
// the other: blobs, snapshots, metadata.
func (r *root) flush() error {
	return r.metadata.flush(func(state *bolt.Tx) error {
		if err := r.blobs.Sync(func(dgst digest.Digest) bool { return namesBlob(state, dgst) }); err != nil || r.overlay == nil {
			return err
		}
		return r.overlay.flush(reserved)
	})
}

// namesBlob tells whether some namespace of the metadata knows a blob.
func namesBlob(state *bolt.Tx, dgst digest.Digest) bool {
	root := state.Bucket([]byte(schemaBucket))
	if root == nil {
		return false
	}
	found := errors.New("found")
	err := root.ForEachBucket(func(ns []byte) error {
		bucket := root.Bucket(ns)
		for _, name := range []string{"content", "blob", dgst.String()} {
			if bucket = bucket.Bucket([]byte(name)); bucket == nil {
				return nil
			}
		}
		return found
	})
	return err == found
}

// settle flushes before something is removed that a record on disk may name. A
// full disk must not keep us from making room on it; the records are written
// when there is some.
func (r *root) settle() error {
	err := r.flush()
	if isFull(err) {
		return nil
	}
	return err
}

// flushNow flushes now and then. An error is that of the flush that counts.
func (r *root) flushNow() {
	defer close(r.stopped)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			_ = r.flush()
		}
	}
}

func (r *root) close() error {
	close(r.stop)
	<-r.stopped
	err := r.flush()
	if r.overlay != nil && r.overlay.shadow.dirty.Load() {
		// What was removed last, and numbers that nobody needs: a disk that
		// cannot take this keeps them, and no image suffers.
		_ = r.overlay.flush(0)
	}
	return errors.Join(err, r.snapshotter.Close(), r.release(), r.lock.Close())
}

// release gives the locks up.
func (r *root) release() error {
	err := r.metadata.close()
	if r.overlay != nil {
		err = errors.Join(err, r.overlay.shadow.close())
	}
	return err
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
	if errors.Is(err, ErrBusy) {
		return nil, fmt.Errorf("%w: containerd is running on %s; stop it, or use --address", ErrBusy, root)
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

func (r *root) openSnapshotter() (snapshots.Snapshotter, []string, error) {
	dir := r.snapshotDir()
	var sn snapshots.Snapshotter
	var err error
	var capabilities []string
	switch r.name {
	case defaultSnapshotter:
		sn, err = r.openOverlay(dir)
		if !userns.RunningInUserNS() { // there whiteouts cannot be made without the parent
			capabilities = append(capabilities, snapshots.RebaseCap)
		}
	case nativeSnapshotter:
		sn, err = native.NewSnapshotter(dir)
	default:
		return nil, nil, fmt.Errorf("snapshotter %q in an embedded root: %w; use overlayfs or native", r.name, errdefs.ErrInvalidArgument)
	}
	if err == nil {
		err = r.forget(sn)
	}
	if err == nil && r.overlay != nil {
		err = sweep(dir, sn)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening snapshotter %s: %w; another one: --snapshotter native", r.name, err)
	}
	return &guarded{Snapshotter: sn, settle: r.settle, overlay: r.overlay}, capabilities, nil
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
