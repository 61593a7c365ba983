package store

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
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

// GC deletes the leases of pulls that have ended, and has what only they held
// collected: ingests, blobs, and snapshots that were being unpacked. What other
// clients hold, also or alone, stays. An embedded root, which has no other
// collector, is collected as a whole. With dryRun nothing changes, and the result
// is what would go.
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
	gone, err := s.backend.Sweep(ctx, stale, dryRun)
	for id, size := range gone {
		freed.of(id.Type).add(size)
	}
	return freed, err
}

func (f *Freed) of(kind string) *Sum {
	switch kind {
	case ResourceIngest:
		return &f.Ingests
	case ResourceContent:
		return &f.Blobs
	}
	return &f.Snapshots
}

func (s *Sum) add(size int64) {
	s.Count++
	s.Bytes += size
}

// Sizes are things in a store and their bytes.
type Sizes map[leases.Resource]int64

// staleLeases lists the leases of pulls whose owner has ended, and counts those
// of the others.
func (s *Store) staleLeases(ctx context.Context) (stale []leases.Lease, running int, err error) {
	all, err := s.Leases.List(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("listing leases: %w", err)
	}
	for _, l := range all {
		switch is, runs := OfPull(l); {
		case !is: // of another program
		case runs:
			running++
		default:
			stale = append(stale, l)
		}
	}
	return stale, running, nil
}

// DeleteLeases deletes the stale leases of m, and waits for what follows of it.
func DeleteLeases(ctx context.Context, m leases.Manager, stale []leases.Lease) error {
	for _, l := range stale {
		if err := m.Delete(ctx, l, leases.SynchronousDelete); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("deleting lease %s: %w", l.ID, err)
		}
	}
	return nil
}
