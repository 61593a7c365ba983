// Package root is the store.Backend of a folder on disk, laid out as containerd's
// root: containerd's own packages work in this process, and a daemon that is
// started on the folder later finds what it would have written.
//
// A root is untrusted until it is open: place.go follows no link in it, bolt.go reads
// the pages of its databases before bolt does, and health.go compares what they know
// with the files. Metadata is worked on in memory and written in whole (shadow.go), and
// what a killed pull left is mended when the root is opened for writing (heal.go).
// Looking at a root changes nothing in it (look.go). Read Opener.Open first, then
// root.flush for the order in which things reach the disk.
package root

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	ns "github.com/moby/sys/userns"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

// The folders of a containerd root.
const (
	contentDir  = "io.containerd.content.v1.content"
	metadataDir = "io.containerd.metadata.v1.bolt"
	snapshotDir = "io.containerd.snapshotter.v1."

	rootMode = 0o700

	// lockTimeout is how long bolt's file lock is waited for. A daemon holds it
	// as long as it runs.
	lockTimeout = 1500 * time.Millisecond

	schemaBucket  = "v1"
	schemaVersion = 4 // of the metadata database that this library writes
)

// Opener opens roots. The zero value is ready to use.
type Opener struct {
	// Waiting is told once if another process holds the root. It may be nil.
	Waiting func(message string)
	// Patience is how long such a process is waited for; 0 is a minute.
	Patience time.Duration
}

// Open opens a root with the zero Opener.
func Open(ctx context.Context, so store.Options) (*store.Store, error) {
	return Opener{}.Open(ctx, so)
}

// Open opens the root folder so.Root, creating it if need be, with containerd's
// own packages in this process. Processes that open a root wait for each other, and
// fail with store.ErrBusy in the end; a daemon that holds it makes Open do so within 2 s.
//
// A folder with other things in it than a root has is store.ErrForeign, unless so.Force
// is set. Links and folders of others in it are store.ErrUnsafe, and a root whose
// databases are damaged is errdefs.ErrDataLoss: nothing that it holds is changed then.
func (o Opener) Open(ctx context.Context, so store.Options) (*store.Store, error) {
	return open(so, func(so store.Options) (*root, error) {
		if err := os.MkdirAll(so.Root, rootMode); err != nil {
			return nil, fmt.Errorf("creating root: %w", unfit(err))
		}
		r, err := newRoot(so)
		if err != nil {
			return nil, err
		}
		return r, r.begin(ctx, o, so.Force)
	})
}

// open returns the store on a root, or closes what open has of it.
func open(so store.Options, open func(store.Options) (*root, error)) (*store.Store, error) {
	so = so.WithDefaults()
	so.Snapshotter = cmp.Or(so.Snapshotter, store.Overlayfs)
	if !slices.Contains(Snapshotters(), so.Snapshotter) {
		return nil, failure.New(errdefs.ErrInvalidArgument, "a root without a daemon has no snapshotter %q; use one of %s", so.Snapshotter, strings.Join(Snapshotters(), ", "))
	}
	if so.Snapshotter == store.Erofs && ns.RunningInUserNS() {
		return nil, failure.New(errdefs.ErrInvalidArgument, "a root of an ordinary user has no snapshotter erofs; use overlayfs or native")
	}
	r, err := open(so)
	if r != nil && err != nil {
		return nil, errors.Join(err, r.release())
	}
	if err != nil {
		return nil, err
	}
	return store.New(r), nil
}

// newRoot opens the folder of a root.
func newRoot(so store.Options) (*root, error) {
	p, err := openPlace(so.Root)
	if err != nil {
		return nil, err
	}
	r := &root{place: p, dir: p.path, stop: make(chan struct{}), stopped: make(chan struct{})}
	r.parts = store.Parts{Namespace: so.Namespace, Name: so.Snapshotter, Hasher: multibuffer.New()}
	return r, nil
}

// begin makes the root ready for writing. Up to prepare nothing in it is changed.
func (r *root) begin(ctx context.Context, o Opener, force bool) error {
	if err := r.place.checkWritable(); err != nil {
		return err
	}
	if err := r.place.checkOwn(); err != nil {
		if !force {
			return err
		}
		r.place.foreign = errors.Is(err, store.ErrForeign)
	}
	if _, err := r.place.open("."); err != nil {
		return err
	}
	var err error
	if r.lock, err = o.lockPlace(ctx, r.place, true); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.examine, r.prepare, r.openDatabases, r.healthy, r.nameNamespace, r.openHandles, r.openBlobs, r.openSnapshotter} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := r.wire(); err != nil {
		return err
	}
	go r.flushNow()
	return nil
}

// examine looks for what keeps the root from being opened at all.
func (r *root) examine(context.Context) error {
	if err := r.place.look(r.parts.Name); err != nil {
		return err
	}
	return r.place.checkDatabases(r.parts.Name)
}

func (r *root) prepare(context.Context) error { return r.place.prepare(r.parts.Name) }

// openDatabases opens that of the metadata, and that of the snapshotter. native opens
// its own once more.
func (r *root) openDatabases(ctx context.Context) error {
	disk, err := r.place.openBolt(ctx, metadataFile(), true, lockTimeout)
	if err != nil {
		return err
	}
	if r.metadata, err = newShadow(disk); err != nil {
		return err
	}
	if disk, err = r.place.openBolt(ctx, snapshotsFile(r.parts.Name), true, lockTimeout); err != nil {
		return err
	}
	if r.parts.Name != store.Native {
		r.overlay, err = newSnapshotMeta(disk, false)
		return err
	}
	return errors.Join(r.count(disk), disk.Close())
}

// count reads the numbers of the snapshots out of the database of the snapshotter,
// which is nil where there is none.
func (r *root) count(disk *bolt.DB) error {
	if disk == nil {
		return nil
	}
	return disk.View(func(tx *bolt.Tx) error { r.numbers = numbersIn(tx); return nil })
}

// healthy compares what the databases know with each other and with the files.
func (r *root) healthy(context.Context) error {
	if r.overlay != nil {
		if err := r.count(r.overlay.shadow.disk); err != nil {
			return err
		}
	}
	if err := r.place.checkFolders(r.parts.Name, r.numbers); err != nil {
		return err
	}
	return r.metadata.View(func(tx *bolt.Tx) error { return r.place.checkMetadata(tx, r.parts.Name, r.numbers) })
}

// nameNamespace writes the namespace into the metadata database before anything else
// is written: one that knows of no namespace is known to be lost then.
func (r *root) nameNamespace(ctx context.Context) error {
	if err := metadata.NewDB(r.metadata, nil, nil).Init(ctx); err != nil {
		return fmt.Errorf("preparing the metadata database: %w", err)
	}
	err := r.metadata.Update(func(tx *bolt.Tx) error { return metadata.NewNamespaceStore(tx).Create(ctx, r.parts.Namespace, nil) })
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		err = r.metadata.flush(func(*bolt.Tx) error { return nil })
	}
	if err != nil {
		return fmt.Errorf("preparing the metadata database: %w", err)
	}
	return nil
}

func (r *root) openBlobs(context.Context) (err error) {
	if r.blobs, err = contentdir.Open(r.contentDir(), r.parts.Hasher, r.settle); err != nil {
		return fmt.Errorf("opening the content store: %w", err)
	}
	return nil
}

// openHandles opens the folders that others work in through them.
func (r *root) openHandles(context.Context) (err error) {
	if r.folders.content, err = r.place.handle(contentDir); err == nil {
		r.folders.snapshots, err = r.place.handle(snapshotDir + r.parts.Name)
	}
	return err
}

// openSnapshotter opens the snapshotter and mends what a killed pull left of it.
func (r *root) openSnapshotter(context.Context) error {
	var sn snapshots.Snapshotter
	var err error
	if r.overlay != nil { // that of erofs differs in the files of layers alone, which are made here
		r.rebase = !ns.RunningInUserNS() // there whiteouts cannot be made without the parent
		sn, err = overlay.NewSnapshotter(r.snapshotDir(), overlay.WithMetaStore(r.overlay))
	} else {
		sn, err = native.NewSnapshotter(r.snapshotDir())
	}
	if err != nil {
		return fmt.Errorf("opening snapshotter %s: %w; another one: --snapshotter native", r.parts.Name, err)
	}
	r.made = &made{numbers: map[string]string{}}
	guarded := &guarded{Snapshotter: sn, dir: r.folders.snapshots, settle: r.settle, overlay: r.overlay, made: r.made}
	r.snapshotter = guarded
	if err = r.forget(sn); err == nil && r.overlay != nil {
		err = r.place.sweep(r.parts.Name, r.numbers)
	}
	if err == nil {
		guarded.foreign, err = r.foreign(sn)
	}
	return err
}

// wire puts containerd's metadata on top of the content folder and the
// snapshotter.
func (r *root) wire() error {
	r.db = metadata.NewDB(r.metadata, r.blobs, map[string]snapshots.Snapshotter{r.parts.Name: r.snapshotter})
	if err := r.db.Init(context.Background()); err != nil {
		return fmt.Errorf("preparing the metadata database: %w", err)
	}
	r.parts.Content = r.db.ContentStore()
	r.parts.Images = metadata.NewImageStore(r.db)
	r.parts.Containers = metadata.NewContainerStore(r.db)
	r.parts.Leases = metadata.NewLeaseManager(r.db)
	r.parts.Snapshotter = r.db.Snapshotter(r.parts.Name)
	r.parts.Applier = apply.NewFileSystemApplier(r.parts.Content)
	switch {
	case r.parts.Name == store.Erofs:
		r.parts.Applier = noImages{}
	case ns.RunningInUserNS() && userns.HasOneID():
		r.parts.Applier = ownerless{r.parts.Content}
	}
	return nil
}
