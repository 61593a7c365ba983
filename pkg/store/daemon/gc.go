package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Sweep implements store.Backend. It leaves it to the daemon to decide what goes
// with the leases, because the daemon knows what else holds it. An ingest that is
// deleted by name could be one that another client has gone on with.
func (d *daemon) Sweep(ctx context.Context, stale []leases.Lease, dryRun bool) (store.Sizes, error) {
	held, err := d.heldBy(ctx, stale)
	if err != nil {
		return nil, err
	}
	if dryRun {
		if held, err = d.unshared(ctx, held, stale); err != nil {
			return nil, err
		}
		return held, d.dropShared(ctx, held)
	}
	if err := store.DeleteLeases(ctx, d.parts.Leases, stale); err != nil {
		return nil, err
	}
	for r := range held {
		if _, err := d.parts.SizeOf(ctx, r); err == nil {
			delete(held, r)
		} else if !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	return held, d.dropShared(ctx, held)
}

// dropShared takes from gone the blobs that other namespaces have: only a record
// goes with those.
func (d *daemon) dropShared(ctx context.Context, gone store.Sizes) error {
	var blobs []digest.Digest
	for r := range gone {
		if r.Type == store.ResourceContent {
			blobs = append(blobs, digest.Digest(r.ID))
		}
	}
	all, err := d.Namespaces(ctx)
	if err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	there, err := d.parts.Elsewhere(ctx, all, blobs)
	maps.DeleteFunc(gone, func(r leases.Resource, _ int64) bool { return there[digest.Digest(r.ID)] })
	return err
}

// heldBy sums what the leases hold and is there.
func (d *daemon) heldBy(ctx context.Context, all []leases.Lease) (store.Sizes, error) {
	held := store.Sizes{}
	for _, l := range all {
		resources, err := d.parts.Leases.ListResources(ctx, l)
		if errdefs.IsNotFound(err) {
			continue // a pull has taken it over
		}
		if err != nil {
			return nil, fmt.Errorf("listing what lease %s holds: %w", l.ID, err)
		}
		for _, r := range resources {
			size, err := d.parts.SizeOf(ctx, r)
			switch {
			case err == nil:
				held[r] = size
			case !errdefs.IsNotFound(err):
				return nil, err
			}
		}
	}
	return held, nil
}

// unshared takes from held what is referred to by more than the stale leases:
// by other leases, image records or snapshots in use.
func (d *daemon) unshared(ctx context.Context, held store.Sizes, stale []leases.Lease) (store.Sizes, error) {
	m := marks{parts: d.parts, seen: map[leases.Resource]bool{}}
	err := errors.Join(m.leases(ctx, stale), m.images(ctx), m.users(ctx, held))
	if err != nil {
		return nil, err
	}
	left := maps.Clone(held)
	maps.DeleteFunc(left, func(r leases.Resource, _ int64) bool { return m.seen[r] })
	return left, nil
}

// marks are what is in use, found along the labels that containerd's garbage
// collection follows.
type marks struct {
	parts store.Parts
	seen  map[leases.Resource]bool
}

func (m *marks) leases(ctx context.Context, except []leases.Lease) error {
	all, err := m.parts.Leases.List(ctx)
	if err != nil {
		return fmt.Errorf("listing leases: %w", err)
	}
	for _, l := range all {
		if slices.ContainsFunc(except, func(e leases.Lease) bool { return e.ID == l.ID }) {
			continue
		}
		resources, err := m.parts.Leases.ListResources(ctx, l)
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("listing what lease %s holds: %w", l.ID, err)
		}
		for _, r := range resources {
			if err := m.mark(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *marks) images(ctx context.Context) error {
	all, err := m.parts.Images.List(ctx)
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	for _, img := range all {
		if err := m.mark(ctx, leases.Resource{ID: img.Target.Digest.String(), Type: store.ResourceContent}); err != nil {
			return err
		}
		if err := m.follow(ctx, img.Labels); err != nil {
			return err
		}
	}
	return nil
}

// users marks the snapshots of containers, and those that other clients unpack
// into: everything that is not committed and not in held.
func (m *marks) users(ctx context.Context, held store.Sizes) error {
	kind := store.ResourceSnapshot + m.parts.Name
	return m.parts.Snapshotter.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		r := leases.Resource{ID: info.Name, Type: kind}
		if _, stale := held[r]; info.Kind == snapshots.KindCommitted || stale {
			return nil
		}
		return m.mark(ctx, r)
	})
}

// mark marks r and everything that it refers to.
func (m *marks) mark(ctx context.Context, r leases.Resource) error {
	if m.seen[r] {
		return nil
	}
	m.seen[r] = true
	name, snapshot := strings.CutPrefix(r.Type, store.ResourceSnapshot)
	var refs map[string]string
	var err error
	switch {
	case r.Type == store.ResourceContent:
		var info content.Info
		info, err = m.parts.Content.Info(ctx, digest.Digest(r.ID))
		refs = info.Labels
	case snapshot && name == m.parts.Name:
		var info snapshots.Info
		info, err = m.parts.Snapshotter.Stat(ctx, r.ID)
		refs = info.Labels
		if err == nil && info.Parent != "" {
			err = m.mark(ctx, leases.Resource{ID: info.Parent, Type: r.Type})
		}
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return errors.Join(err, m.follow(ctx, refs))
}

// follow marks what labels refer to.
func (m *marks) follow(ctx context.Context, labels map[string]string) error {
	for _, r := range store.References(labels) {
		if err := m.mark(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
