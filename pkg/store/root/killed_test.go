package root_test

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
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// TestKilledWhilePreparing looks at a root as a kill at the worst moment leaves
// it: with folders of snapshots that no record on disk knows. containerd's own
// snapshotter must be able to go on with it.
func TestKilledWhilePreparing(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	dir := filepath.Join(t.TempDir(), "root")
	s, err := root.Open(t.Context(), store.Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx := s.Context(t.Context())
	for _, key := range []string{"one", "two", "three"} {
		prepare(ctx, t, s.Snapshotter, key)
	}
	left := filepath.Join(t.TempDir(), "left")
	if out, err := exec.Command("cp", "-a", dir, left).CombinedOutput(); err != nil {
		t.Fatalf("copying the root: %v: %s", err, out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	dir = filepath.Join(left, "io.containerd.snapshotter.v1.overlayfs")
	folders, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) != 3 {
		t.Fatalf("got %d folders, want those of the 3 snapshots", len(folders))
	}
	daemons, err := overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"four", "five", "six", "seven"} {
		prepare(t.Context(), t, daemons, key)
	}
	if err := errors.Join(daemons.(snapshots.Cleaner).Cleanup(t.Context()), daemons.Close()); err != nil {
		t.Fatal(err)
	}
	folders, err = os.ReadDir(filepath.Join(dir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) != 4 {
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
	dir := filepath.Join(t.TempDir(), "root")
	for i, want := range []string{"1", "2", "3"} {
		s, err := root.Open(t.Context(), store.Options{Root: dir})
		if err != nil {
			t.Fatal(err)
		}
		prepare(s.Context(t.Context()), t, s.Snapshotter, want)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "io.containerd.snapshotter.v1.overlayfs", "snapshots", want)); err != nil {
			t.Errorf("snapshot %d: got %v, want folder %s", i+1, err, want)
		}
	}
}

// TestKilledBetweenFlushes opens a root whose snapshotter knows more than the
// metadata database, as a kill between the writing of the two leaves it: names
// that are given out again must be free.
func TestKilledBetweenFlushes(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "root")
			meta := filepath.Join(dir, "io.containerd.metadata.v1.bolt", "meta.db")
			o := store.Options{Root: dir, Snapshotter: snapshotter}
			s, err := root.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			chain(t, s, "kept")
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(meta)
			if err != nil {
				t.Fatal(err)
			}
			chain(t, s, "lost", "lost on it")
			prepare(s.Context(t.Context()), t, s.Snapshotter, store.ActivePrefix+"never committed")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(meta, before, 0o644); err != nil {
				t.Fatal(err)
			}

			s, err = root.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			chain(t, s, "lost", "lost on it")
			prepare(s.Context(t.Context()), t, s.Snapshotter, store.ActivePrefix+"never committed")
			ctx := s.Context(t.Context())
			if there, err := s.Has(ctx, "kept"); !there || err != nil {
				t.Errorf("got %v and %v for the snapshot that is known, want it there", there, err)
			}
			folders, err := os.ReadDir(filepath.Join(dir, "io.containerd.snapshotter.v1."+snapshotter, "snapshots"))
			if err != nil {
				t.Fatal(err)
			}
			if len(folders) != 4 {
				t.Errorf("got %d folders, want those of 4 snapshots", len(folders))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// chain commits snapshots, each on top of the one before.
func chain(t *testing.T, s *store.Store, names ...string) {
	t.Helper()
	ctx, parent := s.Context(t.Context()), ""
	for _, name := range names {
		if _, err := s.Snapshotter.Prepare(ctx, "extract-"+name, parent); err != nil {
			t.Fatalf("preparing %s: %v", name, err)
		}
		if err := s.Snapshotter.Commit(ctx, name, "extract-"+name); err != nil {
			t.Fatalf("committing %s: %v", name, err)
		}
		parent = name
	}
}

// TestRemovedBeforeAKill removes a snapshot of which the metadata database on
// disk still has the record when the process is killed: the next process that
// opens the root finds both or neither.
func TestRemovedBeforeAKill(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "root")
			s, err := root.Open(t.Context(), store.Options{Root: dir, Snapshotter: snapshotter})
			if err != nil {
				t.Fatal(err)
			}
			chain(t, s, "garbage")
			if err := errors.Join(s.Flush(), s.Collect(t.Context(), store.Garbage)); err != nil {
				t.Fatal(err)
			}
			left := filepath.Join(t.TempDir(), "left")
			if out, err := exec.Command("cp", "-a", dir, left).CombinedOutput(); err != nil {
				t.Fatalf("copying the root: %v: %s", err, out)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = root.Open(t.Context(), store.Options{Root: left, Snapshotter: snapshotter})
			if err != nil {
				t.Fatal(err)
			}
			if there, err := s.Has(s.Context(t.Context()), "garbage"); err != nil {
				t.Fatal(err)
			} else if !there {
				labelled := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: "garbage"})
				if _, err := s.Snapshotter.Prepare(s.Context(t.Context()), "extract-again", "", labelled); err != nil {
					t.Errorf("got %v, want to make the snapshot again", err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
