package root_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// TestF1F2Databases damages each of the two databases in each way. Looking changes
// nothing; a pull and a collection refuse a database that is damaged or lost, with its
// name and a way out, or work, and never remove what a container wrote.
func TestF1F2Databases(t *testing.T) {
	for _, snapshotter := range root.Snapshotters() {
		for _, name := range []string{metaDB, snapshotterDir(snapshotter) + "/metadata.db"} {
			for _, damage := range teststore.Damages() {
				t.Run(snapshotter+" "+filepath.Base(name)+" "+string(damage), func(t *testing.T) {
					dir, other := full(t, snapshotter), full(t, snapshotter)
					path := filepath.Join(dir, name)
					replacement := filepath.Join(other, metaDB) // the other database, or another root's
					if name == metaDB {
						replacement = filepath.Join(other, snapshotterDir(snapshotter), "metadata.db")
					}
					damage.Do(t, path, replacement)
					before := read(t, dir)
					o := store.Options{Root: dir, Snapshotter: snapshotter}
					for what, look := range looks() {
						wantDamage(t, what, path, look(t.Context(), o))
						if diff := tree.Diff(read(t, dir), before); diff != "" {
							t.Errorf("%s: %s", what, diff)
						}
					}
					err := openForWriting(t.Context(), o)
					wantDamage(t, "open", path, err)
					if err == nil && (damage == teststore.Removed || damage == teststore.Emptied || damage == teststore.Zeroed || damage == teststore.Replaced) {
						t.Error("got a root opened for writing that lost its database")
					}
					for _, folder := range folders(t, dir, snapshotter) {
						if _, err := os.Stat(filepath.Join(folder, "file")); err != nil {
							t.Errorf("got %v, want the files of snapshots kept", err)
						}
					}
				})
			}
		}
	}
}

// wantDamage fails unless err, if there is one, names the file and a way out.
func wantDamage(t *testing.T, what, path string, err error) {
	t.Helper()
	if err == nil || what == "view" && errdefs.IsNotFound(err) {
		return
	}
	if !errdefs.IsDataLoss(err) || failure.HintOf(err) == "" {
		t.Errorf("%s: got %v, want damage of %s, and a way out", what, err, path)
	}
}

// TestF1AnotherRootsDatabases: databases that know other things than there are.
func TestF1AnotherRootsDatabases(t *testing.T) {
	for _, snapshotter := range root.Snapshotters() {
		dir := full(t, snapshotter)
		empty := filepath.Join(t.TempDir(), "empty")
		o := store.Options{Root: empty, Snapshotter: snapshotter}
		s, err := root.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		name := snapshotterDir(snapshotter) + "/metadata.db"
		teststore.Replaced.Do(t, filepath.Join(dir, name), filepath.Join(empty, name))
		before := read(t, dir)
		o.Root = dir
		for what, look := range looks() {
			wantDamage(t, what, name, look(t.Context(), o))
			if diff := tree.Diff(read(t, dir), before); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		if err := openForWriting(t.Context(), o); err == nil {
			t.Errorf("%s: got a root opened whose snapshots no database knows", snapshotter)
		}
	}
}

// TestContainersKeepTheirFiles: what a container wrote stays when the metadata does
// not know it any more, whatever is collected.
func TestContainersKeepTheirFiles(t *testing.T) {
	dir := full(t, store.Overlayfs)
	meta := filepath.Join(dir, metaDB)
	o := store.Options{Root: dir}
	old, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	s, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	prepare(s.Context(t.Context()), t, s.Snapshotter, "another container")
	if err := errors.Join(s.Flush(), s.Close(), os.WriteFile(meta, old, 0o644)); err != nil {
		t.Fatal(err)
	}
	all := len(folders(t, dir, store.Overlayfs))
	s, err = root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(t.Context(), false); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left := len(folders(t, dir, store.Overlayfs)); left != all {
		t.Errorf("got %d folders of %d left, want what containers wrote kept", left, all)
	}
}
