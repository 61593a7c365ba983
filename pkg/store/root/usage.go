package root

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Commit implements snapshots.Snapshotter. With a usage it is overlay's without
// the walk.
func (g *guarded) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	usage, known := store.UsageOf(ctx)
	if !known || g.overlay == nil {
		err := g.Snapshotter.Commit(ctx, name, key, opts...)
		if err == nil {
			g.made.note(name, g.made.number(key))
		}
		return err
	}
	return g.overlay.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CommitActive(ctx, key, name, usage, opts...)
		return err
	})
}

// made are the numbers of the snapshots that native has made since the root was
// opened, by name. Its database cannot be read meanwhile: native holds it open.
type made struct {
	mu      sync.Mutex
	numbers map[string]string
}

func (m *made) note(name, number string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.numbers[name] = number
}

func (m *made) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.numbers, name)
}

// number is empty if it is not known.
func (m *made) number(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.numbers[name]
}
