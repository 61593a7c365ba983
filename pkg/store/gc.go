package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Freed is what GC removed, or would remove.
type Freed struct {
	// Leases are the IDs of those of pulls that have ended.
	Leases []string
	// Ingests, Blobs and Snapshots went with them; in an embedded root also
	// whatever else nothing referred to.
	Ingests, Blobs, Snapshots Sum
	// Running counts the leases that were left to pulls that may be running.
	Running int
}

// Sum is a number of things and their size on disk.
type Sum struct {
	Count int
	Bytes int64
}

// GC deletes the leases of ours that no running pull owns, and has what only
// they held collected: ingests, blobs, and snapshots that were being unpacked.
// Nothing of anybody else is touched; what others hold as well stays. An
// embedded root is collected as a whole, because nobody else does it. With
// dryRun nothing changes, and the result is what would go.
func (s *Store) GC(ctx context.Context, dryRun bool) (Freed, error) {
	ctx = s.Context(ctx)
	stale, running, err := s.staleLeases(ctx)
	if err != nil {
		return Freed{}, err
	}
	freed := Freed{Running: running}
	for _, l := range stale {
		freed.Leases = append(freed.Leases, l.ID)
	}
	sweep := s.gcDaemon
	if s.root != nil {
		sweep = s.root.gc
	}
	gone, err := sweep(ctx, stale, dryRun)
	for id, size := range gone {
		freed.of(id.Type).add(size)
	}
	return freed, err
}

func (f *Freed) of(kind string) *Sum {
	switch kind {
	case resourceIngest:
		return &f.Ingests
	case resourceContent:
		return &f.Blobs
	}
	return &f.Snapshots
}

func (s *Sum) add(size int64) {
	s.Count++
	s.Bytes += size
}

// sizes are things in a store and their bytes.
type sizes map[leases.Resource]int64

// staleLeases lists the leases of ours whose owner has ended, and counts the
// others.
func (s *Store) staleLeases(ctx context.Context) (stale []leases.Lease, running int, err error) {
	all, err := s.Leases.List(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("listing leases: %w", err)
	}
	for _, l := range all {
		switch {
		case !strings.HasPrefix(l.ID, leasePrefix) || l.Labels[LabelRef] == "": // not ours
		case alive(l.Labels[LabelOwner]):
			running++
		default:
			stale = append(stale, l)
		}
	}
	return stale, running, nil
}

// drop deletes the stale leases, and waits for what follows of it.
func drop(ctx context.Context, m leases.Manager, stale []leases.Lease) error {
	for _, l := range stale {
		if err := m.Delete(ctx, l, leases.SynchronousDelete); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("deleting lease %s: %w", l.ID, err)
		}
	}
	return nil
}

// gcDaemon leaves it to the daemon to decide what goes with the leases: it
// knows what else holds it. Deleting ingests ourselves could hit one that
// somebody has gone on with.
func (s *Store) gcDaemon(ctx context.Context, stale []leases.Lease, dryRun bool) (sizes, error) {
	held, err := s.heldBy(ctx, stale)
	if err != nil {
		return nil, err
	}
	if dryRun {
		return s.unshared(ctx, held, stale)
	}
	if err := drop(ctx, s.Leases, stale); err != nil {
		return nil, err
	}
	for r := range held {
		if _, err := s.sizeOf(ctx, r); err == nil {
			delete(held, r)
		} else if !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	return held, nil
}

// heldBy sizes up what the leases hold and is there.
func (s *Store) heldBy(ctx context.Context, all []leases.Lease) (sizes, error) {
	held := sizes{}
	for _, l := range all {
		resources, err := s.Leases.ListResources(ctx, l)
		if errdefs.IsNotFound(err) {
			continue // a pull has taken it over
		}
		if err != nil {
			return nil, fmt.Errorf("listing what lease %s holds: %w", l.ID, err)
		}
		for _, r := range resources {
			size, err := s.sizeOf(ctx, r)
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

// sizeOf is the number of bytes of r, or errdefs.ErrNotFound. Snapshots of other
// snapshotters than the store's are not looked at.
func (s *Store) sizeOf(ctx context.Context, r leases.Resource) (int64, error) {
	name, snapshot := strings.CutPrefix(r.Type, resourceSnapshot)
	if !snapshot {
		return s.size(ctx, r)
	}
	if name != s.Name {
		return 0, errdefs.ErrNotFound
	}
	usage, err := s.Snapshotter.Usage(ctx, r.ID)
	return usage.Size, err
}

// unshared takes from held what something else than the stale leases refers
// to: other leases, image records, snapshots in use.
func (s *Store) unshared(ctx context.Context, held sizes, stale []leases.Lease) (sizes, error) {
	m := marks{store: s, seen: map[leases.Resource]bool{}}
	err := errors.Join(m.leases(ctx, stale), m.images(ctx), m.users(ctx, held))
	if err != nil {
		return nil, err
	}
	left := maps.Clone(held)
	maps.DeleteFunc(left, func(r leases.Resource, _ int64) bool { return m.seen[r] })
	return left, nil
}

// marks are what is in use, found by following the labels by which containerd's
// garbage collection goes.
type marks struct {
	store *Store
	seen  map[leases.Resource]bool
}

func (m *marks) leases(ctx context.Context, except []leases.Lease) error {
	all, err := m.store.Leases.List(ctx)
	if err != nil {
		return fmt.Errorf("listing leases: %w", err)
	}
	for _, l := range all {
		if slices.ContainsFunc(except, func(e leases.Lease) bool { return e.ID == l.ID }) {
			continue
		}
		resources, err := m.store.Leases.ListResources(ctx, l)
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
	all, err := m.store.Images.List(ctx)
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	for _, img := range all {
		if err := m.mark(ctx, leases.Resource{ID: img.Target.Digest.String(), Type: resourceContent}); err != nil {
			return err
		}
		if err := m.follow(ctx, img.Labels); err != nil {
			return err
		}
	}
	return nil
}

// users marks the snapshots of containers, and those that others unpack into:
// everything that is not committed and not held.
func (m *marks) users(ctx context.Context, held sizes) error {
	kind := resourceSnapshot + m.store.Name
	return m.store.Snapshotter.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		r := leases.Resource{ID: info.Name, Type: kind}
		if _, ours := held[r]; info.Kind == snapshots.KindCommitted || ours {
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
	name, snapshot := strings.CutPrefix(r.Type, resourceSnapshot)
	var refs map[string]string
	var err error
	switch {
	case r.Type == resourceContent:
		var info content.Info
		info, err = m.store.Content.Info(ctx, digest.Digest(r.ID))
		refs = info.Labels
	case snapshot && name == m.store.Name:
		var info snapshots.Info
		info, err = m.store.Snapshotter.Stat(ctx, r.ID)
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
	for key, value := range labels {
		r := leases.Resource{ID: value, Type: resourceContent}
		if rest, ok := strings.CutPrefix(key, image.LabelSnapshot); ok {
			name, _, _ := strings.Cut(rest, "/")
			r.Type = resourceSnapshot + name
		} else if !strings.HasPrefix(key, image.LabelContent) {
			continue
		}
		if err := m.mark(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
