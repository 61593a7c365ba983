package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// daemon is a containerd, over all restarts of it.
type daemon struct {
	*connection
	client *containerd.Client
	blobs  contentapi.ContentClient
	parts  store.Parts // Name and Snapshotter as soon as it has answered once
	traits atomic.Pointer[traits]
	sites  []*site // of all daemons that have answered so far; guarded by connection.mu
	taken  taken   // by Drop
}

// traits are what is known of the daemon that answers now.
type traits struct {
	store.Traits
	pid       int // 0 if it cannot be seen
	transfers bool
	site      *site
}

// Parts implements store.Backend.
func (d *daemon) Parts() store.Parts { return d.parts }

// Traits implements store.Backend.
func (d *daemon) Traits() store.Traits { return d.traits.Load().Traits }

// SyncsApplied implements store.Backend.
func (d *daemon) SyncsApplied(ctx context.Context) (bool, error) { return d.isVersion2(ctx) }

// isVersion2 reports whether the daemon is of version 2.0 or later.
func (d *daemon) isVersion2(ctx context.Context) (bool, error) {
	version, err := d.version(ctx)
	if err != nil {
		return false, fmt.Errorf("asking containerd for its version: %w", err)
	}
	return !strings.HasPrefix(strings.TrimPrefix(version, "v"), "1."), nil
}

// Namespaces implements store.Backend.
func (d *daemon) Namespaces(ctx context.Context) ([]string, error) {
	return d.client.NamespaceService().List(ctx)
}

// Snapshotter implements store.Backend.
func (d *daemon) Snapshotter(name string) snapshots.Snapshotter {
	return d.client.SnapshotService(name)
}

// identity is what a daemon calls itself for as long as its root exists.
func (d *daemon) identity(ctx context.Context) (string, error) {
	server, err := d.client.Server(ctx)
	return server.UUID, err
}

func (d *daemon) version(ctx context.Context) (string, error) {
	v, err := d.client.Version(ctx)
	return v.Version, err
}

// Flush implements store.Backend. What a daemon has is its own to put on disk.
func (d *daemon) Flush() error { return nil }

// Close implements store.Backend.
func (d *daemon) Close() error {
	for _, s := range d.sites {
		s.close()
	}
	return d.client.Close()
}

// applier is the daemon's diff service, which may be switched off.
type applier struct{ diff.Applier }

// Apply implements diff.Applier.
func (a applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	done, err := a.Applier.Apply(ctx, desc, mounts, opts...)
	if errdefs.IsNotImplemented(err) {
		err = fmt.Errorf("%w: %w", store.ErrNoApplier, err)
	}
	return done, err
}
