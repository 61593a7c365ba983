package store_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestKilledWhilePreparing looks at a root as a kill at the worst moment leaves
// it: with folders of snapshots that no record on disk knows. containerd's own
// snapshotter must be able to go on with it.
func TestKilledWhilePreparing(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	root := filepath.Join(t.TempDir(), "root")
	s := pulltest.Must(store.Open(t.Context(), store.Options{Root: root}))(t)
	ctx := s.Context(t.Context())
	for _, key := range []string{"one", "two", "three"} {
		prepare(ctx, t, s.Snapshotter, key)
	}
	left := filepath.Join(t.TempDir(), "left")
	if out, err := exec.Command("cp", "-a", root, left).CombinedOutput(); err != nil {
		t.Fatalf("copying the root: %v: %s", err, out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(left, "io.containerd.snapshotter.v1.overlayfs")
	if folders := pulltest.Must(os.ReadDir(filepath.Join(dir, "snapshots")))(t); len(folders) != 3 {
		t.Fatalf("got %d folders, want those of the 3 snapshots", len(folders))
	}
	daemons := pulltest.Must(overlay.NewSnapshotter(dir, overlay.AsynchronousRemove))(t)
	for _, key := range []string{"four", "five", "six", "seven"} {
		prepare(t.Context(), t, daemons, key)
	}
	if err := errors.Join(daemons.(snapshots.Cleaner).Cleanup(t.Context()), daemons.Close()); err != nil {
		t.Fatal(err)
	}
	if folders := pulltest.Must(os.ReadDir(filepath.Join(dir, "snapshots")))(t); len(folders) != 4 {
		t.Errorf("got %d folders after a clean-up, want those of the 4 new snapshots", len(folders))
	}
}

func prepare(ctx context.Context, t *testing.T, sn snapshots.Snapshotter, key string) {
	t.Helper()
	if _, err := sn.Prepare(ctx, key, ""); err != nil {
		t.Fatalf("preparing %s: %v", key, err)
	}
}

// TestNumbersStayTrue: what is reserved is given back at the end.
func TestNumbersStayTrue(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	root := filepath.Join(t.TempDir(), "root")
	for i, want := range []string{"1", "2", "3"} {
		s := pulltest.Must(store.Open(t.Context(), store.Options{Root: root}))(t)
		prepare(s.Context(t.Context()), t, s.Snapshotter, want)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs", "snapshots", want)); err != nil {
			t.Errorf("snapshot %d: got %v, want folder %s", i+1, err, want)
		}
	}
}
