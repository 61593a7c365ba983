package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
)

// viewTime bounds looking at a snapshot, which ends in its own time.
const viewTime = 5 * time.Second

// Lowers opens the folders of the committed snapshot name and of those below it,
// nearest first; one that is gone is nil. They are to be read only, and the caller
// closes them.
func (s *Store) Lowers(ctx context.Context, name string) (all []*os.File, err error) {
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	// A view whose making was cancelled may be there all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTime)
	defer cancel()
	err = s.view(ctx, name, func(key string, mounts []mount.Mount) error {
		u, why := s.Upper(ctx, key, mounts)
		if u == nil {
			return failure.New(errdefs.ErrFailedPrecondition, "the folders of snapshot %s cannot be read: %s", name, why)
		}
		defer u.Close()
		if !u.HasLowers {
			return failure.New(errdefs.ErrFailedPrecondition, "the view of snapshot %s names no folder for reading", name)
		}
		all, err = u.Lowers()
		return err
	})
	if err != nil {
		CloseAll(all)
		return nil, err
	}
	return all, nil
}

// UserXattr reports whether what is mounted on top of the committed snapshot name
// has overlayfs keep its own attributes in user.overlay.*. The mounts of a view do
// not show it.
func (s *Store) UserXattr(ctx context.Context, name string) (is bool, err error) {
	if cause := context.Cause(ctx); cause != nil {
		return false, cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTime)
	defer cancel()
	err = s.show(ctx, name, s.Snapshotter.Prepare, func(_ string, mounts []mount.Mount) error {
		is = hasUserXattr(mounts)
		return nil
	})
	return is, err
}

// view shows what would be mounted to look at the snapshot name.
func (s *Store) view(ctx context.Context, name string, show func(key string, mounts []mount.Mount) error) error {
	return s.show(ctx, name, s.Snapshotter.View, show)
}

// show shows the mounts of a snapshot that is made on top of another, and removed
// afterwards. It makes it under a lease: a collection that removes one leaves a
// mark of it at the snapshot below, which then cannot be removed any more
// (core/metadata/gc.go in containerd).
func (s *Store) show(ctx context.Context, name string, on func(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error), show func(key string, mounts []mount.Mount) error) (err error) {
	if _, held := leases.FromContext(ctx); !held {
		l, err := s.newLease(ctx, "view", owner())
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTime)
			defer cancel()
			err = errors.Join(err, l.delete(ctx))
		}()
		ctx = leases.WithLease(ctx, l.lease.ID)
	}
	key := viewPrefix + rand.Text()[:12] + " " + name
	defer func() { err = errors.Join(err, s.closeView(ctx, key)) }() // also one whose making timed out
	mounts, err := on(ctx, key, name)
	if err != nil {
		return fmt.Errorf("viewing snapshot %s: %w", name, err)
	}
	return show(key, mounts)
}

// closeView removes a view, which there need not be, in a time of its own.
func (s *Store) closeView(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTime)
	defer cancel()
	if err := s.Snapshotter.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("closing the view %s: %w", key, err)
	}
	return nil
}

// Empty removes everything in dir, and follows no link.
func Empty(dir *os.File) error {
	root, err := os.OpenRoot(beneath.Path(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	all, err := root.Open(".")
	if err != nil {
		return err
	}
	defer all.Close()
	names, err := all.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, root.RemoveAll(name))
	}
	return err
}

type usageKey struct{}

// WithUsage tells a Commit what is in the snapshot, so that it need not walk over
// all of it, where Traits.TakesUsage says so. containerd's metadata wraps the
// snapshotter, so the context is the only way to pass the usage.
func WithUsage(ctx context.Context, usage snapshots.Usage) context.Context {
	return context.WithValue(ctx, usageKey{}, usage)
}

// UsageOf is what WithUsage put into ctx.
func UsageOf(ctx context.Context) (usage snapshots.Usage, known bool) {
	usage, known = ctx.Value(usageKey{}).(snapshots.Usage)
	return usage, known
}
