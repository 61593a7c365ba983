package daemon_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// look tells what a View sees.
func look(t *testing.T, o store.Options) (images, namespaces, snapshotters []string) {
	t.Helper()
	v, err := daemon.View(t.Context(), o)
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

func TestViewOfDaemon(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			s, err := daemon.Dial(t.Context(), store.Options{Address: d.Address, Namespace: "one"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Register(s.Context(t.Context()), teststore.Image(teststore.Ref, "one", nil)); err != nil {
				t.Fatal(err)
			}
			o := store.Options{Address: "unix://" + d.Address, Namespace: "one", Snapshotter: "none"}
			images, namespaces, snapshotters := look(t, o)
			if diff := cmp.Diff([]string{teststore.Ref}, images); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
			if !slices.Contains(namespaces, "one") || !slices.Contains(snapshotters, "native") {
				t.Errorf("got namespaces %v and snapshotters %v", namespaces, snapshotters)
			}
		})
	}
	if _, err := daemon.View(t.Context(), store.Options{Address: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("of no daemon: got %v, want unavailable", err)
	}
}
