package unpack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/trace"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// settle makes of a layer that was applied without the layers below what it would
// be on top of them, which must be committed. Where that cannot be told from what
// was made, the layer is applied again.
func (l *layer) settle(ctx context.Context) error {
	if l.later {
		return l.applyInOrder(ctx)
	}
	if l.parent == "" || l.upper == nil || l.upper.HasLowers {
		return nil
	}
	if l.marked {
		var err error
		if l.userXattr, err = l.u.mountsUserXattr(ctx, l.parent); err != nil {
			return err
		}
	}
	if l.userXattr {
		return l.applyInOrder(ctx)
	}
	err := l.inherit(ctx)
	if errors.Is(err, lay.ErrOrder) {
		return l.applyInOrder(ctx)
	}
	return err
}

// inherit gives directories that the layer does not list the attributes that
// they have below.
func (l *layer) inherit(ctx context.Context) error {
	if len(l.implicit) == 0 {
		return nil
	}
	lowers, err := complete(l.u.store.Lowers(ctx, l.parent))
	if err == nil {
		err = l.inheritFrom(lowers)
	}
	store.CloseAll(lowers)
	if err != nil {
		return fmt.Errorf("completing the directories of layer %s: %w", l.desc.Digest, err)
	}
	return nil
}

// applyInOrder applies the layer anew, with the layers below at hand.
func (l *layer) applyInOrder(ctx context.Context) error {
	if err := await(ctx, l.stored); err != nil {
		return err
	}
	if err := l.upper.Empty(); err != nil {
		return fmt.Errorf("applying layer %s again: %w", l.desc.Digest, err)
	}
	l.again = true
	if l.upper.Image { // which may take as much memory as all others together
		unlock, err := l.u.shared.alone.Lock(ctx, "")
		if err != nil {
			return err
		}
		defer unlock()
	}
	return l.applyBlob(ctx)
}

// lowers opens the folders of the layers below, nearest first, if all of them are
// known to be complete.
func (l *layer) lowers(ctx context.Context) ([]*os.File, error) {
	switch {
	case l.parent == "":
		return nil, nil
	case l.again:
		return complete(l.u.store.Lowers(ctx, l.parent))
	case l.upper.HasLowers:
		return complete(l.upper.Lowers())
	}
	return nil, nil
}

// complete is an error if one of the folders is gone.
func complete(folders []*os.File, err error) ([]*os.File, error) {
	if err == nil && slices.Contains(folders, nil) {
		err = fmt.Errorf("the folder of a layer below is gone: %w", os.ErrNotExist)
	}
	return folders, err
}

// commit makes the layer visible under its chain ID. It must be called in
// chain order; the parent is the snapshot that the layer below committed.
func (l *layer) commit(ctx context.Context) error {
	if l.done {
		return nil
	}
	defer trace.StartRegion(ctx, "commit").End()
	start := time.Now()
	if err := l.settle(ctx); err != nil {
		return err
	}
	if l.upper != nil && l.upper.Image {
		if err := l.upper.FinishImage(); err != nil {
			return err
		}
	}
	if err := l.sync(); err != nil {
		return err
	}
	if err := l.commitFiles(ctx); err != nil {
		return err
	}
	l.key, l.done = "", true
	l.close()
	l.phase(progress.Commit, time.Since(start), 0)
	return nil
}

// commitFiles makes the active snapshot the layer's, or fills that again.
func (l *layer) commitFiles(ctx context.Context) error {
	if l.lost {
		return l.refill(ctx)
	}
	opts := []snapshots.Opt{snapshots.WithLabels(l.labels())}
	if l.preparent != l.parent {
		opts = append(opts, snapshots.WithParent(l.parent))
	}
	err := l.u.store.Snapshotter.Commit(l.measured(ctx), l.chainID, l.key, opts...)
	switch {
	case errdefs.IsAlreadyExists(err): // another pull was faster
		l.abort(ctx)
		return l.hold(ctx)
	case err != nil:
		return fmt.Errorf("committing layer %s: %w", l.desc.Digest, err)
	}
	return nil
}

// wayOut is what can be done about a snapshot that cannot be mended in its place.
const wayOut = "remove the containers on top of it, then the snapshot with ctr snapshots rm, and pull again"

// refill gives the files of the active snapshot to the one that has lost its own.
func (l *layer) refill(ctx context.Context) error {
	if l.upper == nil {
		if ok, why := l.open(ctx); !ok {
			return failure.New(errdefs.ErrDataLoss, "the files of snapshot %s are lost, and cannot be written again: %s", l.chainID, why).
				WithHint(wayOut)
		}
	}
	if err := l.u.store.Refill(ctx, l.chainID, l.key, l.upper); err != nil {
		return err
	}
	l.abort(ctx)
	return nil
}

// measured passes what is in the layer to a store that takes it, if that is known.
func (l *layer) measured(ctx context.Context) context.Context {
	if l.upper == nil || !l.u.store.Traits().TakesUsage {
		return ctx
	}
	if l.upper.Image {
		usage, err := l.upper.ImageUsage()
		if err != nil {
			return ctx // the store counts itself
		}
		return store.WithUsage(ctx, usage)
	}
	inodes, bytes, ok := l.usage.Measure(l.upper.Dir)
	if !ok {
		return ctx
	}
	return store.WithUsage(ctx, snapshots.Usage{Inodes: inodes, Size: bytes})
}

// hold leases the snapshot that another pull committed, which containerd before
// 2.0 does not do by itself.
func (l *layer) hold(ctx context.Context) error {
	held, err := l.u.store.Hold(ctx, l.chainID)
	if err == nil && !held {
		err = failure.New(errdefs.ErrNotFound, "snapshot %s was removed", l.chainID)
	}
	return err
}

// sync puts the files that this process has unpacked on stable storage, if that
// was asked for. A daemon does that itself.
func (l *layer) sync() error {
	if !l.u.syncFS || l.upper == nil {
		return nil
	}
	if err := unix.Syncfs(int(l.upper.Dir.Fd())); err != nil {
		return fmt.Errorf("syncing layer %s: %w", l.desc.Digest, err)
	}
	return nil
}

// abort removes the active snapshot, if there is one, also after a cancel. A
// snapshot that cannot be removed, because the daemon has gone for example, ends
// with the lease.
func (l *layer) abort(ctx context.Context) {
	if l.key == "" {
		return
	}
	defer l.close()
	if errors.Is(context.Cause(ctx), store.ErrUnavailable) {
		l.key, l.mounts = "", nil
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if err := l.remove(ctx); err != nil {
		l.u.emit.Emit(progress.Event{
			Kind: progress.Warning, Ref: l.img.Source.Ref.Name, Digest: l.desc.Digest,
			Message: fmt.Sprintf("removing the unfinished snapshot %s: %v", l.key, err),
		})
	}
	l.key, l.mounts = "", nil
}

// remove removes the active snapshot. If the disk is too full for that, its files
// are deleted first, where this process has written them.
func (l *layer) remove(ctx context.Context) error {
	err := l.u.store.Snapshotter.Remove(ctx, l.key)
	if errors.Is(store.WithErrno(err), unix.ENOSPC) && l.upper != nil {
		if err := l.upper.Empty(); err != nil {
			return err
		}
		err = l.u.store.Snapshotter.Remove(ctx, l.key)
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
