package root_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// look tells what a View sees.
func look(t *testing.T, o store.Options) (images, namespaces, snapshotters []string) {
	t.Helper()
	v, err := root.View(o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	all, err := v.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range all {
		images = append(images, img.Name)
	}
	namespaces, err = v.Namespaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	snapshotters, err = v.Snapshotters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return images, namespaces, snapshotters
}

// TestViewOfRoot changes not one file of the root, makes none that is not
// there, and does not wait for the process that holds it.
func TestViewOfRoot(t *testing.T) {
	dir := t.TempDir()
	s, err := root.Open(t.Context(), store.Options{Root: dir, Namespace: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Register(s.Context(t.Context()), teststore.Image(teststore.Ref, "one", nil)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := root.View(store.Options{Root: dir}); !errors.Is(err, store.ErrBusy) || time.Since(start) > time.Second {
		t.Errorf("of a root that is held: got %v after %s, want busy at once", err, time.Since(start))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	images, namespaces, snapshotters := look(t, store.Options{Root: dir, Namespace: "one"})
	for what, pair := range map[string][2][]string{
		"images": {{teststore.Ref}, images}, "namespaces": {{"one"}, namespaces}, "snapshotters": {{"overlayfs", "native", "erofs"}, snapshotters},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if images, _, _ := look(t, store.Options{Root: dir, Namespace: "other"}); images != nil {
		t.Errorf("images of another namespace: got %v", images)
	}
	if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
		t.Errorf("the root has changed (-before +after):\n%s", diff)
	}
	none := filepath.Join(dir, "none")
	if _, err := root.View(store.Options{Root: none}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no root: got %v, want that there is none", err)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("looking has made a root")
	}
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
