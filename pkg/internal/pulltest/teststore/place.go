package teststore

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Place is a kind of store.
type Place struct {
	Title       string // of the sub-test
	Snapshotter string
	Version     string // of the daemon; empty for an embedded root
}

// Places are all kinds of store that a contract is kept on.
func Places() []Place {
	all := []Place{
		{Title: "embedded overlayfs", Snapshotter: "overlayfs"},
		{Title: "embedded native", Snapshotter: "native"},
	}
	for _, v := range testdaemon.Versions() {
		all = append(all, Place{Title: "containerd " + v, Snapshotter: "overlayfs", Version: v})
	}
	return all
}

// TwoPlaces are one of each mode, for variations that do not depend on more.
func TwoPlaces() []Place {
	return []Place{Places()[0], {Title: "containerd 2.4", Snapshotter: "overlayfs", Version: "2.4"}}
}

// Open opens a store of the kind in a folder of its own, with the daemon that
// serves it, if one does.
func (p Place) Open(t testing.TB) (s *store.Store, root string, d *testdaemon.Daemon) {
	t.Helper()
	o := store.Options{Snapshotter: p.Snapshotter}
	if p.Version == "" {
		o.Root = filepath.Join(t.TempDir(), "root") // for the store to make
		return Open(t, o), o.Root, nil
	}
	d = testdaemon.Start(t, testdaemon.Options{Version: p.Version})
	o.Address = d.Address
	return Dial(t, o), d.Root, d
}

// Snapshots lists all snapshots by name.
func Snapshots(ctx context.Context, t testing.TB, s *store.Store) map[string]snapshots.Info {
	t.Helper()
	all := map[string]snapshots.Info{}
	err := s.Snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		all[info.Name] = info
		return nil
	})
	if err != nil {
		t.Fatalf("listing snapshots: %v", err)
	}
	return all
}

// WantReady fails the test unless the daemon finds ref complete and unpacked.
func WantReady(t testing.TB, d *testdaemon.Daemon, snapshotter, ref string) {
	t.Helper()
	out := d.Ctr(t, "images", "check", "--quiet", "--snapshotter", snapshotter)
	if !slices.Contains(strings.Fields(out), ref) {
		all := d.Ctr(t, "images", "check", "--snapshotter", snapshotter)
		t.Errorf("got these images from containerd %s, want %s ready:\n%s", d.Version, ref, all)
	}
}
