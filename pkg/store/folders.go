package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// viewTime bounds looking at a snapshot, which ends in its own time.
const viewTime = 5 * time.Second

// Upper is where the files of a prepared snapshot are to be written.
type Upper struct {
	// Dir is the folder that becomes the layer.
	Dir string
	// Lowers are the folders of the layers below, nearest first, if the mount
	// is an overlay.
	Lowers []string
	// Overlay is false for a bind mount.
	Overlay bool
}

// UpperOf reads the folders out of the mounts of a snapshot; ok is false for
// mounts that are not one overlay or one bind mount.
func UpperOf(mounts []mount.Mount) (u Upper, ok bool) {
	if len(mounts) != 1 {
		return Upper{}, false
	}
	switch m := mounts[0]; m.Type {
	case "bind":
		return Upper{Dir: m.Source}, true
	case "overlay":
		for _, o := range m.Options {
			if dir, found := strings.CutPrefix(o, "upperdir="); found {
				u.Dir = dir
			}
			if dirs, found := strings.CutPrefix(o, "lowerdir="); found {
				u.Lowers = strings.Split(dirs, ":")
			}
		}
		u.Overlay = true
		return u, u.Dir != "" || len(u.Lowers) > 0
	}
	return Upper{}, false
}

// Writable reports whether this process may write into the mounts of the snapshot
// key, which it has just prepared, and says why, or why not.
func (s *Store) Writable(ctx context.Context, key string, mounts []mount.Mount) (bool, string) {
	if s.Name != Overlayfs && s.Name != Native {
		return false, fmt.Sprintf("snapshotter %s is the daemon's to write", s.Name)
	}
	if userns.RunningInUserNS() {
		return false, "running in a user namespace"
	}
	if missing := missingCapabilities(); missing != nil {
		return false, missing.Error()
	}
	return s.backend.SharesFiles(ctx, key, mounts)
}

// missingCapabilities is nil if this process has what writing a layer takes: device
// nodes, owners, modes, file capabilities, and overlay's trusted attributes.
func missingCapabilities() error {
	needed := []int{unix.CAP_SYS_ADMIN, unix.CAP_MKNOD, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_SETFCAP}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading the capabilities of this process: %w", err)
	}
	if !slices.ContainsFunc(needed, func(c int) bool { return data[c/32].Effective&(1<<(c%32)) == 0 }) {
		return nil
	}
	return errors.New("not privileged to write layers")
}

// Lowers returns the folders of the committed snapshot name and of those below
// it, nearest first. They are to be read only.
func (s *Store) Lowers(ctx context.Context, name string) ([]string, error) {
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	// A view whose making was cancelled may be there all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTime)
	defer cancel()
	mounts, err := s.view(ctx, name)
	if err != nil {
		return nil, err
	}
	upper, ok := UpperOf(mounts)
	if !ok {
		return nil, failure.New(errdefs.ErrFailedPrecondition, "snapshot %s is not made of plain folders", name)
	}
	if !upper.Overlay {
		return []string{upper.Dir}, nil // there is only one layer
	}
	return upper.Lowers, nil
}

// view says what would be mounted to look at the snapshot name. It makes a view
// for that, under a lease: a collection that removes one leaves a mark of it at
// the snapshot below, which then cannot be removed any more (core/metadata/gc.go
// in containerd).
func (s *Store) view(ctx context.Context, name string) (mounts []mount.Mount, err error) {
	if _, held := leases.FromContext(ctx); !held {
		l, err := s.newLease(ctx, "view", owner())
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.delete(ctx)) }()
		ctx = leases.WithLease(ctx, l.lease.ID)
	}
	key := viewPrefix + rand.Text()[:12] + " " + name
	if mounts, err = s.Snapshotter.View(ctx, key, name); err != nil {
		return nil, fmt.Errorf("viewing snapshot %s: %w", name, err)
	}
	if err := s.Snapshotter.Remove(ctx, key); err != nil {
		return nil, fmt.Errorf("closing the view of snapshot %s: %w", name, err)
	}
	return mounts, nil
}

// Empty removes everything in dir.
func Empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
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
