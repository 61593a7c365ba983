package root

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// root is an embedded root that is open.
type root struct {
	place       *place
	dir         string   // its path
	lock        *os.File // held as long as it is open; nil where there is none to look at
	numbers     numbers  // of the snapshots, when the root was opened
	metadata    *shadow
	db          *metadata.DB  // of containerd, on metadata
	overlay     *snapshotMeta // nil with another snapshotter that is written
	made        *made         // by that since the root was opened
	blobs       *contentdir.Folder
	snapshotter snapshots.Snapshotter // below the metadata
	parts       store.Parts
	folders     handles
	looking     bool     // nothing is written
	absent      *absence // nil for a root that exists
	rebase      bool
	stop        chan struct{} // ends the periodic flush
	stopped     chan struct{}
}

// handles are the folders of the blobs and of the snapshotter, open; nil for one that
// is looked for and not there.
type handles struct{ content, snapshots *os.File }

// Parts implements store.Backend.
func (r *root) Parts() store.Parts { return r.parts }

// Traits implements store.Backend.
func (r *root) Traits() store.Traits {
	return store.Traits{Applies: true, AppliesHere: true, Rebase: r.rebase, TakesUsage: r.overlay != nil && !r.looking, ReplacesStrays: true}
}

// Attach implements store.Backend. A root that is open stays.
func (r *root) Attach(ctx context.Context) (context.Context, func(), error) {
	return ctx, func() {}, nil
}

// Disconnected implements store.Backend.
func (r *root) Disconnected(context.Context) bool { return false }

// Upper implements store.Backend.
func (r *root) Upper(_ context.Context, _ string, mounts []mount.Mount) (*store.Upper, string) {
	above := r.folders.snapshots
	if l, ok := r.snapshotter.(*looking); ok && l.made(mounts) {
		above = l.scratch
	}
	if above == nil {
		return nil, "the snapshotter has no folder"
	}
	u, err := store.OpenUpper(above, r.parts.Name, mounts)
	if err != nil {
		return nil, err.Error()
	}
	return u, "the root is open in this process"
}

// SyncsApplied implements store.Backend.
func (r *root) SyncsApplied(context.Context) (bool, error) { return true, nil }

// Folders implements store.Backend.
func (r *root) Folders(context.Context) (content, snapshots *store.Place) {
	if r.absent != nil {
		return r.absent.place(contentDir), r.absent.place(snapshotDir + r.parts.Name)
	}
	return r.place.way(r.folders.content, contentDir), r.place.way(r.folders.snapshots, snapshotDir+r.parts.Name)
}

func (r *root) contentDir() string { return filepath.Join(r.dir, contentDir) }

// snapshotDir is the folder of the snapshotter.
func (r *root) snapshotDir() string { return filepath.Join(r.dir, snapshotDir+r.parts.Name) }

// Namespaces implements store.Backend.
func (r *root) Namespaces(ctx context.Context) (names []string, err error) {
	return names, r.db.View(func(tx *bolt.Tx) error {
		names, err = metadata.NewNamespaceStore(tx).List(ctx)
		return err
	})
}

// Snapshotter implements store.Backend.
func (r *root) Snapshotter(name string) snapshots.Snapshotter {
	if name != r.parts.Name {
		return nil
	}
	return r.parts.Snapshotter
}

// Collect implements store.Backend. A root has no other collector, so everything
// is collected whatever was asked for.
func (r *root) Collect(ctx context.Context, _ store.What) error {
	if r.looking {
		return errLooking()
	}
	_, err := r.db.GarbageCollect(ctx)
	return err
}

// Flush implements store.Backend.
func (r *root) Flush() error {
	if r.looking {
		return errLooking()
	}
	if err := r.flush(); err != nil {
		return fmt.Errorf("writing the root: %w", err)
	}
	return nil
}

// flush puts everything on stable storage in the order in which one refers to
// the other: blobs, snapshots, metadata.
func (r *root) flush() error {
	if r.looking {
		return nil
	}
	return r.metadata.flush(func(state *bolt.Tx) error {
		if err := r.blobs.Sync(func(dgst digest.Digest) bool { return namesBlob(state, dgst) }); err != nil || r.overlay == nil {
			return err
		}
		return r.overlay.flush(reserved)
	})
}

// settle flushes before something is removed that a record on disk may name. A
// full disk must not keep room from being made on it; the records are written as
// soon as there is some.
func (r *root) settle() error {
	err := r.flush()
	if store.IsFull(err) {
		return nil
	}
	return err
}

// flushNow flushes every second. An error will be that of the flush that counts.
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

// Close implements store.Backend.
func (r *root) Close() error {
	close(r.stop)
	<-r.stopped
	err := r.flush()
	if r.overlay != nil && !r.looking && r.overlay.shadow.dirty.Load() {
		// What was removed last, and numbers that are not needed any more: a
		// disk that cannot take this keeps them, and no image suffers.
		_ = r.overlay.flush(0)
	}
	return errors.Join(err, r.release())
}

// release gives up what is open of the root, however far that came.
func (r *root) release() error {
	store.CloseAll([]*os.File{r.folders.content, r.folders.snapshots})
	var errs []error
	if r.snapshotter != nil {
		errs = append(errs, r.snapshotter.Close())
	}
	if r.metadata != nil {
		errs = append(errs, r.metadata.close())
	}
	if r.overlay != nil {
		errs = append(errs, r.overlay.shadow.close())
	}
	errs = append(errs, r.place.unlock(r.lock, !r.looking), r.place.close())
	if r.absent != nil {
		errs = append(errs, r.absent.close())
	}
	return errors.Join(errs...)
}
