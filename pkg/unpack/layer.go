package unpack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

const (
	labelParentChainID = "containerd.io/snapshot/parent-chain-id"
	// rounds is how often a layer is fetched whose bytes turn out to be wrong.
	rounds = 4
	// cleanupTime limits what must happen after a cancel.
	cleanupTime = 10 * time.Second
	maxName     = 300 // bytes of a foreign name in a message
	// prepareTries allows for a key that is in use already, and for the folder that
	// a killed daemon left under the number of the next snapshot: that fails once
	// and is gone then.
	prepareTries = 4
)

// layer is one layer on its way to a committed snapshot. Its methods are
// called in this order: follow if another image makes the snapshot, prepare,
// fetchAndApply or applyStored, commit; abort at the end, after success too.
type layer struct {
	c               *chain
	u               *Unpacker
	img             Image
	desc            ocispec.Descriptor
	diffID          digest.Digest
	chainID         string
	parent          string        // chain ID of the layer below, "" for the first
	ready           chan struct{} // closed when its commit may begin; where layers are applied in order, its apply
	markReady       func()        // closes ready, once
	releaseDownload func()        // lets another layer be fetched, once
	stored          chan struct{} // closed when it is applied and its blob is stored, where layers are applied side by side
	load            *pipeline.Load
	// again is set while a layer is applied for the second time, and later if it has to
	// be because there was no memory for it.
	again, later bool
	// blobOnly is set if the snapshot exists, or was filled by the snapshotter: nothing
	// is written, but what the blob inflates to is verified, since the snapshot may be
	// made of another blob.
	blobOnly bool
	// lost is set if the snapshot has a record and no files: what is written fills
	// it again.
	lost bool
	// release ends this chain's right to make the snapshot; it is nil while another
	// image may make it.
	release  func()
	followed bool // another image has made the snapshot
	fetching bool // into the content store, to be applied when its turn comes

	once      sync.Once // of prepareOnce
	onceErr   error
	key       string // of the active snapshot, "" if there is none
	preparent string // the parent that it was prepared with
	mounts    []mount.Mount
	done      bool         // the snapshot exists already
	upper     *store.Upper // where its files are written; nil if this process must not
	implicit  []lay.Directory
	marked    bool // it has what depends on the mount option userxattr
	userXattr bool // which is known to be in use
	usage     lay.Usage
}

func (c *chain) newLayer(i int) *layer {
	l := &layer{
		c: c, u: c.u, img: c.img, desc: c.img.Layers[i], diffID: c.img.DiffIDs[i],
		chainID: c.chainIDs[i].String(), ready: make(chan struct{}), stored: make(chan struct{}), releaseDownload: func() {},
	}
	l.markReady = sync.OnceFunc(func() { close(l.ready) })
	if i > 0 {
		l.parent = c.chainIDs[i-1].String()
	}
	var behind time.Duration
	if !c.u.store.Traits().TakesUsage {
		behind = commitTime(c.img.Layers[i:])
	}
	l.load = pipeline.NewLoad(l.desc.Size, behind)
	return l
}

// await returns once the event of a layer has come, or with the reason why it will
// not come.
func await(ctx context.Context, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *layer) event(kind progress.Kind) progress.Event {
	e := l.img.event(l.desc)
	e.Kind, e.ChainID = kind, digest.Digest(l.chainID)
	return e
}

// labels returns the labels that containerd's unpacker gives the snapshot. An
// image must not choose the mapping of owners.
func (l *layer) labels() map[string]string {
	set := map[string]string{}
	maps.Copy(set, snapshots.FilterInheritedLabels(l.desc.Annotations))
	delete(set, snapshots.LabelSnapshotUIDMapping)
	delete(set, snapshots.LabelSnapshotGIDMapping)
	if !l.lost { // or the snapshotter would find that there is one
		set[snapshots.LabelSnapshotRef] = l.chainID
	}
	set[snapshots.LabelSnapshotDiffID] = l.diffID.String()
	if l.parent != "" {
		set[labelParentChainID] = l.parent
	}
	return set
}

// prepare makes an active snapshot on top of parent, unless there is one.
func (l *layer) prepare(ctx context.Context, parent string) error {
	if l.key != "" || l.done || l.blobOnly {
		return nil
	}
	var failed error
	cleared := false
	for range prepareTries {
		key := fmt.Sprintf(snapshots.UnpackKeyFormat, rand.Text()[:12], l.chainID)
		mounts, err := l.createSnapshot(ctx, key, parent)
		if err == nil {
			l.key, l.preparent, l.mounts = key, parent, mounts
			return l.openDirect(ctx)
		}
		failed = err
		if errdefs.IsUnknown(err) { // a folder that a killed daemon left is in the way; the next has another number
			continue
		}
		if !errdefs.IsAlreadyExists(err) {
			break
		}
		// A remote snapshotter that has made the layer itself returns this error.
		if l.done, err = l.u.store.Hold(ctx, l.chainID); l.done || err != nil {
			return err
		}
		// Otherwise the snapshotter has lost what the metadata has a record of. A
		// second time, the record could not be removed.
		l.lost = cleared
		if err := l.removeGhosts(ctx); err != nil {
			return err
		}
		cleared = true
	}
	return fmt.Errorf("preparing a snapshot for layer %s: %w", l.desc.Digest, failed)
}

// openDirect opens the snapshot where it is settled that this process writes it.
// An embedded root is this process's own, whichever applier writes there.
func (l *layer) openDirect(ctx context.Context) error {
	if l.isStaged() || !l.c.direct && !l.u.store.Traits().AppliesHere {
		return nil
	}
	if ok, why := l.open(ctx); !ok && l.c.direct {
		return failure.New(errdefs.ErrFailedPrecondition, "opening the snapshot of layer %s: %s", l.desc.Digest, why)
	}
	return nil
}

// open opens the folder of the snapshot, and says why, or why not.
func (l *layer) open(ctx context.Context) (bool, string) {
	upper, why := l.u.store.Upper(ctx, l.key, l.mounts)
	if upper == nil {
		return false, why
	}
	if upper.Dir == nil {
		upper.Close()
		return false, "the snapshot is for reading only"
	}
	l.close()
	l.upper = upper
	return true, why
}

// close closes the folder of the snapshot.
func (l *layer) close() {
	if l.upper != nil {
		l.upper.Close()
		l.upper = nil
	}
}

// createSnapshot prepares a snapshot. It must not be cancelled in between: a
// daemon would go on, and make a snapshot under a key that is lost.
func (l *layer) createSnapshot(ctx context.Context, key, parent string) ([]mount.Mount, error) {
	ctx, end := store.Outlive(ctx)
	defer end()
	return l.u.store.Snapshotter.Prepare(ctx, key, parent, snapshots.WithLabels(l.labels()))
}

// prepareOnce calls prepare for the first time. Two goroutines may do so: one
// ahead of time, one when the layer's bytes are due.
func (l *layer) prepareOnce(ctx context.Context) error {
	l.once.Do(func() { l.onceErr = l.prepare(ctx, l.preparent) })
	return l.onceErr
}

// isStaged reports whether the snapshotter filled the snapshot itself: there is
// nothing to write, only to commit.
func (l *layer) isStaged() bool {
	return l.done || len(l.mounts) > 0 && l.mounts[len(l.mounts)-1].ReadOnly()
}

// fetchAndApply fetches the layer and applies it, starting over with an empty snapshot
// when the bytes turn out to be wrong.
func (l *layer) fetchAndApply(ctx context.Context) error {
	ctx, end := l.traced(ctx)
	defer end()
	if err := l.prepareOnce(ctx); err != nil {
		return err
	}
	for round := 1; ; round++ {
		if err := l.prepare(ctx, l.preparent); err != nil || l.done {
			return err
		}
		if l.isStaged() { // the image needs its blob all the same
			if l.u.discard {
				return nil
			}
			l.blobOnly = true
		}
		err := l.fill(ctx)
		if err == nil {
			l.u.note(l.desc.Digest)
		}
		if !errors.Is(err, fetch.ErrCorrupt) || round == rounds {
			l.u.fetcher.Shared.Fail(ctx, l.img.blob(l.desc), err)
			return err
		}
		if !l.blobOnly {
			l.abort(ctx)
		}
	}
}

// keepBlob labels the blob of a layer that has a snapshot, and fetches one that
// was lost. A blob without the label of its diff ID was left by a pull that was
// killed.
func (l *layer) keepBlob(ctx context.Context) error {
	found, err := l.u.store.Survey(ctx, store.Wanted{Blobs: []ocispec.Descriptor{l.desc}})
	if err != nil {
		return err
	}
	b := found.Blobs[l.desc.Digest]
	if b.Damage != "" && l.u.discard {
		return l.u.store.Drop(ctx, l.desc.Digest)
	}
	known := b.IsThere() && (b.Info.Labels[labels.LabelUncompressed] != "" || isEncrypted(l.desc))
	if known || b.Damage == "" && (l.u.discard || !l.u.store.MakesOfBlobs()) {
		return l.u.fetcher.Present(ctx, l.img.blob(l.desc), l.img.Source.Labels)
	}
	if isEncrypted(l.desc) {
		return l.u.fetch(ctx, l.img, l.desc, l.load.Left)
	}
	if err := l.download(ctx, time.Now()); err != nil {
		return err
	}
	defer l.releaseDownload()
	return l.fetchAndApply(ctx)
}

// download waits until the layer may be fetched; asked is when it became due.
// The caller then calls releaseDownload.
func (l *layer) download(ctx context.Context, asked time.Time) error {
	if err := l.u.shared.downloads.acquire(ctx, l.load.Left); err != nil {
		return err
	}
	l.releaseDownload = sync.OnceFunc(l.u.shared.downloads.release)
	l.phase(progress.Wait, time.Since(asked), 0)
	return nil
}

// To commit a layer costs a daemon a transaction and, since it counts the files,
// a share of the time of the unpack.
const (
	commitCost    = 6 * time.Millisecond
	commitPerByte = 1.5 // ns per byte of the blob
)

// commitTime returns how long a daemon takes to commit layers, one after the
// other.
func commitTime(layers []ocispec.Descriptor) (d time.Duration) {
	for _, l := range layers {
		d += commitCost + time.Duration(commitPerByte*float64(l.Size))
	}
	return d
}

// fill streams the layer into its snapshot. A blob that is in the content store,
// or was begun by an earlier pull, is read back from there.
func (l *layer) fill(ctx context.Context) (err error) {
	unlock, err := l.u.fetcher.Shared.Lock(ctx, l.img.blob(l.desc))
	if err != nil {
		return err
	}
	defer unlock()
	in, err := l.u.fetcher.Open(ctx, l.img.blob(l.desc))
	if errdefs.IsAlreadyExists(err) {
		if err := l.u.fetcher.Present(ctx, l.img.blob(l.desc), l.img.Source.Labels); err != nil {
			return err
		}
		return l.applyKept(ctx)
	}
	if err != nil {
		return err
	}
	defer func() {
		l.u.fetched.add(l.desc.Digest, in.Fetched())
		err = errors.Join(err, in.Close())
	}()
	if in.Offset() == 0 {
		return l.stream(ctx, in)
	}
	return l.fetchThenApply(ctx, in)
}

// fetchThenApply goes on with an ingest that an earlier pull began.
func (l *layer) fetchThenApply(ctx context.Context, in *fetch.Ingest) error {
	start := time.Now()
	if err := in.Receive(ctx, io.Discard); err != nil {
		return err
	}
	if in.Fetched() > 0 {
		l.phase(progress.Fetch, time.Since(start), in.Fetched())
	}
	if err := in.Commit(ctx, l.img.Source.Labels); err != nil {
		return err
	}
	return l.applyKept(ctx)
}

// applyKept applies a blob that the store may have had before. If that fails
// because the blob has other bytes than its digest says, the blob is dropped, and
// the error is fetch.ErrCorrupt.
func (l *layer) applyKept(ctx context.Context) error {
	cause := l.applyStored(ctx)
	if cause == nil || ctx.Err() != nil || errors.Is(cause, lay.ErrUnfit) || errors.Is(cause, store.ErrNoApplier) || store.IsUnwritable(cause) {
		return cause // not for the bytes
	}
	whole, err := l.u.store.IsWhole(ctx, l.desc)
	if whole || err != nil {
		return errors.Join(cause, err)
	}
	if err := l.u.store.Drop(ctx, l.desc.Digest); err != nil {
		return errors.Join(cause, err)
	}
	return failure.New(fetch.ErrCorrupt, "the content store has wrong bytes in the place of layer %s", l.desc.Digest).
		WithHint("the store is damaged, not the registry: containerd-pull verify --repair mends it, and the log of the kernel (dmesg) may say why")
}

// applyStored applies the layer's blob out of the content store, by the pipeline
// where this process may write and by containerd's applier elsewhere, and labels
// the blob with its verified diff ID.
func (l *layer) applyStored(ctx context.Context) error {
	if l.isStaged() && !l.blobOnly {
		return nil
	}
	l.releaseDownload()
	if err := l.applyBlob(ctx); err != nil {
		return err
	}
	l.markReady()
	info := content.Info{Digest: l.desc.Digest, Labels: map[string]string{labels.LabelUncompressed: l.diffID.String()}}
	if _, err := l.u.store.Content.Update(ctx, info, "labels."+labels.LabelUncompressed); err != nil {
		return fmt.Errorf("labelling layer %s: %w", l.desc.Digest, err)
	}
	return nil
}

// applyAgain applies the layer's blob on top of the layer below, and fetches it
// once more when its bytes turn out to be wrong.
func (l *layer) applyAgain(ctx context.Context) error {
	for round := 1; ; round++ {
		if err := l.prepare(ctx, l.parent); err != nil {
			return err
		}
		err := l.applyKept(ctx)
		if !errors.Is(err, fetch.ErrCorrupt) || round == rounds {
			return err
		}
		l.abort(ctx)
		if err := l.u.fetch(ctx, l.img, l.desc, l.load.Left); err != nil {
			return err
		}
	}
}

func (l *layer) applyBlob(ctx context.Context) error {
	if !l.c.direct && !l.blobOnly {
		return l.applyElsewhere(ctx)
	}
	ra, err := l.u.store.Content.ReaderAt(ctx, l.desc)
	if err != nil {
		return fmt.Errorf("reading layer %s: %w", l.desc.Digest, err)
	}
	defer ra.Close()
	return l.pour(ctx, content.NewReader(ra))
}

// applyElsewhere lets the store's applier apply the blob, which reports no
// progress.
func (l *layer) applyElsewhere(ctx context.Context) error {
	turn := l.u.shared.pipeline.Turn(l.load)
	turn.Take()
	defer turn.Give()
	l.u.emit.Emit(l.event(progress.UnpackStart))
	start := time.Now()
	watched, stop := l.u.guard.Watch(ctx)
	defer stop()
	got, err := l.u.store.Applier.Apply(watched, l.desc, l.mounts, diff.WithSyncFs(l.u.syncFS))
	if err != nil {
		return fmt.Errorf("applying layer %s: %w", l.desc.Digest, explainOwner(store.WithCause(watched, err)))
	}
	if got.Digest != l.diffID {
		return l.wrongDiffID(got.Digest)
	}
	l.phase(progress.Apply, time.Since(start), got.Size)
	l.applied(got.Size)
	return nil
}

// explainOwner names the file in an error of containerd's applier about an owner
// that does not exist in the user namespace of this process.
func explainOwner(err error) error {
	at, ok := errors.AsType[*os.PathError](err)
	if !ok || at.Op != "lchown" || !errors.Is(at, unix.EINVAL) {
		return err
	}
	name := at.Path
	if _, below, mounted := strings.Cut(name, "/containerd-mount"); mounted {
		_, name, _ = strings.Cut(below, "/")
	}
	return failure.New(lay.ErrUnfit, "the owner of %q does not exist in this user namespace", name).WithHint(lay.MoreIDs)
}

func (l *layer) wrongDiffID(got digest.Digest) error {
	return failure.New(errdefs.ErrDataLoss, "applying layer %s: got diff ID %s, want %s", l.desc.Digest, got, l.diffID).
		WithHint("the layer is as its digest says and does not fit the image's own config: the image has to be built and pushed again")
}

// isReported reports whether the unpack of the layer is for others to see: the
// first of it.
func (l *layer) isReported() bool { return !l.blobOnly && !l.again }

// applied reports that size uncompressed bytes were applied.
func (l *layer) applied(size int64) {
	if !l.isReported() {
		return
	}
	l.u.unpacked.Add(size)
	e := l.event(progress.UnpackDone)
	e.Bytes = progress.Bytes{Done: size, Total: size}
	l.u.emit.Emit(e)
}

func (l *layer) phase(p progress.Phase, d time.Duration, n int64) {
	l.u.phase(l.event(progress.PhaseDone), p, d, n)
}
