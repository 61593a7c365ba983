package root_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// TestGCWithoutFolders collects a snapshot whose record outlived its folder, as a kill
// in the middle of a collection leaves it.
func TestGCWithoutFolders(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for _, name := range root.Snapshotters() {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "root")
			open := func() *store.Store {
				t.Helper()
				s, err := root.Open(t.Context(), store.Options{Root: dir, Snapshotter: name})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			ctx := s.Context(t.Context())
			prepare(ctx, t, s.Snapshotter, "active")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			folders := filepath.Join(dir, "io.containerd.snapshotter.v1."+name, "snapshots")
			if err := os.RemoveAll(folders); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(folders, 0o700); err != nil {
				t.Fatal(err)
			}

			s = open()
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			for _, dryRun := range []bool{true, false} {
				freed, err := s.GC(ctx, dryRun)
				if err != nil || freed.Snapshots.Count != 1 {
					t.Errorf("got %d snapshots and error %v of a collection, want 1 and none", freed.Snapshots.Count, err)
				}
			}
			if _, err := s.Snapshotter.Stat(ctx, "active"); !errdefs.IsNotFound(err) {
				t.Errorf("got error %v of the snapshot after a collection, want not found", err)
			}
		})
	}
}
