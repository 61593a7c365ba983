package root

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
	"github.com/containerd-pull/containerd-pull/pkg/store/snapshotdir"
)

// Look opens the root folder so.Root for reading only, on a read-only file system as
// well: nothing in it is made, removed, mended or given another mode. Records can be
// written all the same, leases for example: they are in memory and are forgotten.
// Flush fails. A snapshot that is prepared lies in the folder for temporary files.
//
// A root that does not exist is errdefs.ErrNotFound; other errors are those of Open.
func (o Opener) Look(ctx context.Context, so store.Options) (*store.Store, error) {
	return open(so, func(so store.Options) (*root, error) {
		if _, err := os.Stat(so.Root); errors.Is(err, os.ErrNotExist) {
			return nil, failure.New(errdefs.ErrNotFound, "there is no root %s", so.Root)
		}
		r, err := newRoot(so)
		if err != nil {
			return nil, err
		}
		return r, r.look(ctx, o)
	})
}

// look makes the root ready for reading.
func (r *root) look(ctx context.Context, o Opener) error {
	r.looking = true
	close(r.stopped) // there is no flush to stop
	_, err := r.place.open(".")
	if err != nil {
		return err
	}
	if r.lock, err = o.lockPlace(ctx, r.place, false); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.examine, r.lookIntoDatabases, r.healthy, r.openHandles} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.blobs = contentdir.Look(r.contentDir())
	r.snapshotter = &looking{meta: r.overlay, folderOf: func(id string) string { return filepath.Join(r.snapshotDir(), snapshotdir.Folder(r.parts.Name, id)) }, copies: r.parts.Name == store.Native, dir: r.folders.snapshots}
	if err := r.wire(); err != nil {
		return err
	}
	r.parts.Snapshotter = prompt{r.parts.Snapshotter, r}
	return nil
}

// prompt is the snapshotter of a root that is looked at, above the metadata. There is no
// collection later, so what is removed goes at once.
type prompt struct {
	snapshots.Snapshotter
	r *root
}

// Remove implements snapshots.Snapshotter.
func (p prompt) Remove(ctx context.Context, key string) error {
	inner, err := p.r.nameBelow(key)
	if err == nil {
		err = p.Snapshotter.Remove(ctx, key)
	}
	if err != nil {
		return err
	}
	return p.r.snapshotter.Remove(ctx, inner)
}

// lookIntoDatabases opens both for reading.
func (r *root) lookIntoDatabases(ctx context.Context) error {
	disk, err := r.place.openBolt(ctx, metadataFile(), false, lockTimeout)
	if err != nil {
		return err
	}
	if r.metadata, err = newShadow(disk); err != nil {
		return err
	}
	if disk, err = r.place.openBolt(ctx, snapshotsFile(r.parts.Name), false, lockTimeout); err != nil {
		return err
	}
	r.overlay, err = newSnapshotMeta(disk, true)
	return err
}

// errLooking is the error of what would change a root that is only looked at.
func errLooking() error { return failure.New(unix.EROFS, "the root was opened for reading") }

// looking is a snapshotter that shows what overlayfs, native or erofs left, and
// changes nothing of it. Its records are in memory.
type looking struct {
	meta     *snapshotMeta
	folderOf func(id string) string // where its files lie
	copies   bool                   // each snapshot also holds all that is below it
	dir      *os.File               // of the snapshotter, nil if there is none

	mu      sync.Mutex // guards scratch
	scratch *os.File   // the folder of what is prepared, nil before the first
}

// Stat implements snapshots.Snapshotter.
func (l *looking) Stat(ctx context.Context, key string) (info snapshots.Info, err error) {
	err = l.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	return info, err
}

// Walk implements snapshots.Snapshotter.
func (l *looking) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return l.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		return storage.WalkInfo(ctx, fn, filters...)
	})
}

// Usage implements snapshots.Snapshotter.
func (l *looking) Usage(ctx context.Context, key string) (usage snapshots.Usage, err error) {
	var id string
	var info snapshots.Info
	err = l.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		id, info, usage, err = storage.GetInfo(ctx, key)
		return err
	})
	if err != nil || info.Kind != snapshots.KindActive {
		return usage, err
	}
	dir := l.prepared(id)
	if _, err := os.Lstat(dir); dir == "" || err != nil {
		dir = l.folderOf(id)
	}
	counted, err := fs.DiskUsage(ctx, dir)
	return snapshots.Usage(counted), err
}

// prepared is the folder that Prepare makes for a snapshot, empty if it has made
// none so far.
func (l *looking) prepared(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.scratch == nil {
		return ""
	}
	return filepath.Join(l.scratch.Name(), id)
}

// made reports whether mounts are those of a snapshot that Prepare made.
func (l *looking) made(mounts []mount.Mount) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.scratch != nil && len(mounts) == 1 && filepath.Dir(mounts[0].Source) == l.scratch.Name()
}

// View implements snapshots.Snapshotter.
func (l *looking) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	s, err := l.create(ctx, snapshots.KindView, key, parent, opts)
	if err != nil {
		return nil, err
	}
	return l.show(s)
}

// Prepare implements snapshots.Snapshotter. The files are in a temporary folder, with
// those of the parent if the snapshotter copies them, else above them.
func (l *looking) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	s, err := l.create(ctx, snapshots.KindActive, key, parent, opts)
	if err != nil {
		return nil, err
	}
	dir, err := l.temporary(s.ID)
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing a snapshot in a temporary folder: %w", err)
	}
	switch {
	case len(s.ParentIDs) == 0:
		return bind(dir, "rw"), nil
	case l.copies:
		err = l.copyParent(dir, s.ParentIDs[0])
		return bind(dir, "rw"), err
	}
	return l.above(dir, s)
}

// above returns the mounts of a snapshot that is made in dir on top of others, as
// overlayfs mounts them.
func (l *looking) above(dir string, s storage.Snapshot) ([]mount.Mount, error) {
	needs, err := overlayutils.NeedsUserXAttr(dir)
	if err != nil {
		return nil, fmt.Errorf("asking for the options of overlayfs: %w", err)
	}
	var dirs []string
	for _, id := range s.ParentIDs {
		dirs = append(dirs, l.folderOf(id))
	}
	options := []string{"lowerdir=" + strings.Join(dirs, ":"), "upperdir=" + filepath.Join(dir, "fs"), "workdir=" + filepath.Join(dir, "work")}
	if needs {
		options = append(options, "userxattr")
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}, nil
}

func (l *looking) copyParent(dir, id string) error {
	below := bind(l.folderOf(id), "ro")
	if l.dir == nil {
		return errLooking()
	}
	if err := checkMounts(l.dir, below); err != nil {
		return err
	}
	return fs.CopyDir(dir, below[0].Source)
}

func (l *looking) create(ctx context.Context, kind snapshots.Kind, key, parent string, opts []snapshots.Opt) (s storage.Snapshot, err error) {
	err = l.meta.WithTransaction(ctx, true, func(ctx context.Context) error {
		s, err = storage.CreateSnapshot(ctx, kind, key, parent, opts...)
		return err
	})
	return s, err
}

// show returns the mounts of a view.
func (l *looking) show(s storage.Snapshot) ([]mount.Mount, error) {
	var dirs []string
	for _, id := range s.ParentIDs {
		dirs = append(dirs, l.folderOf(id))
	}
	if l.copies && len(dirs) > 1 {
		dirs = dirs[:1] // all of them are in it
	}
	mounts := []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + strings.Join(dirs, ":")}}}
	if len(dirs) == 1 {
		mounts = bind(dirs[0], "ro")
	}
	if l.dir == nil {
		return nil, failure.New(errdefs.ErrNotFound, "the snapshotter has no folder")
	}
	return mounts, checkMounts(l.dir, mounts)
}

func bind(dir, how string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: dir, Options: []string{how, "rbind"}}}
}

// temporary is the folder of a snapshot that is prepared.
func (l *looking) temporary(id string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.scratch == nil {
		dir, err := os.MkdirTemp("", "containerd-pull-")
		if err != nil {
			return "", err
		}
		if l.scratch, err = os.Open(dir); err != nil {
			return "", err
		}
	}
	return filepath.Join(l.scratch.Name(), id), nil
}

// Mounts implements snapshots.Snapshotter. What is looked at is shown when it is made.
func (l *looking) Mounts(context.Context, string) ([]mount.Mount, error) { return nil, errLooking() }

// Remove implements snapshots.Snapshotter: of the record, and of files that Prepare
// made.
func (l *looking) Remove(ctx context.Context, key string) error {
	var id string
	err := l.meta.WithTransaction(ctx, true, func(ctx context.Context) (err error) {
		id, _, err = storage.Remove(ctx, key)
		return err
	})
	dir := l.prepared(id)
	if err != nil || dir == "" {
		return err
	}
	return os.RemoveAll(dir)
}

// Update implements snapshots.Snapshotter.
func (l *looking) Update(context.Context, snapshots.Info, ...string) (snapshots.Info, error) {
	return snapshots.Info{}, errLooking()
}

// Commit implements snapshots.Snapshotter.
func (l *looking) Commit(context.Context, string, string, ...snapshots.Opt) error {
	return errLooking()
}

// Close implements snapshots.Snapshotter.
func (l *looking) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.scratch == nil {
		return nil
	}
	return errors.Join(os.RemoveAll(l.scratch.Name()), l.scratch.Close())
}
