package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// look tells what a View sees.
func look(t *testing.T, o store.Options) (images, namespaces, snapshotters []string) {
	t.Helper()
	v, err := store.OpenView(t.Context(), o)
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
	namespaces = pulltest.Must(v.Namespaces(t.Context()))(t)
	snapshotters = pulltest.Must(v.Snapshotters(t.Context()))(t)
	return images, namespaces, snapshotters
}

// TestViewOfRoot changes not one file of the root, makes none that is not
// there, and does not wait for whoever holds it.
func TestViewOfRoot(t *testing.T) {
	root := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Root: root, Namespace: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Register(s.Context(t.Context()), image(ref, "one", nil)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := store.OpenView(t.Context(), store.Options{Root: root}); !errors.Is(err, store.ErrBusy) || time.Since(start) > time.Second {
		t.Errorf("of a root that is held: got %v after %s, want busy at once", err, time.Since(start))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, root)
	images, namespaces, snapshotters := look(t, store.Options{Root: root, Namespace: "one"})
	for what, pair := range map[string][2][]string{
		"images": {{ref}, images}, "namespaces": {{"one"}, namespaces}, "snapshotters": {{"overlayfs", "native"}, snapshotters},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if images, _, _ := look(t, store.Options{Root: root, Namespace: "other"}); images != nil {
		t.Errorf("images of another namespace: got %v", images)
	}
	if diff := cmp.Diff(before, listing(t, root)); diff != "" {
		t.Errorf("the root has changed (-before +after):\n%s", diff)
	}
	none := filepath.Join(root, "none")
	if _, err := store.OpenView(t.Context(), store.Options{Root: none}); !errors.Is(err, fs.ErrNotExist) {
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

func TestViewOfDaemon(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			s, err := store.Dial(t.Context(), store.Options{Address: d.Address, Namespace: "one"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Register(s.Context(t.Context()), image(ref, "one", nil)); err != nil {
				t.Fatal(err)
			}
			o := store.Options{Address: "unix://" + d.Address, Namespace: "one", Snapshotter: "none"}
			images, namespaces, snapshotters := look(t, o)
			if diff := cmp.Diff([]string{ref}, images); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
			if !slices.Contains(namespaces, "one") || !slices.Contains(snapshotters, "native") {
				t.Errorf("got namespaces %v and snapshotters %v", namespaces, snapshotters)
			}
		})
	}
	if _, err := store.OpenView(t.Context(), store.Options{Address: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("of no daemon: got %v, want unavailable", err)
	}
}
