package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestRegister points a record to a new target and leaves the labels of other
// clients.
func TestRegister(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	ctx := s.Context(t.Context())
	if img, err := s.Image(ctx, teststore.Ref); img != nil || err != nil {
		t.Errorf("got %v and %v before, want none", img, err)
	}
	if err := s.Register(ctx, teststore.Image(teststore.Ref, "one", map[string]string{"own": "1", "kept": "1"})); err != nil {
		t.Fatal(err)
	}
	foreign := teststore.Image(teststore.Ref, "one", map[string]string{"foreign": "x"})
	if _, err := s.Images.Update(ctx, foreign, "labels.foreign"); err != nil {
		t.Fatal(err)
	}
	if err := s.Register(ctx, teststore.Image(teststore.Ref, "two", map[string]string{"own": "2"})); err != nil {
		t.Fatal(err)
	}
	img, err := s.Image(ctx, teststore.Ref)
	if err != nil || img == nil || img.Target.Digest != digest.FromString("two") {
		t.Fatalf("got %+v and %v, want the second target", img, err)
	}
	want := map[string]string{"own": "2", "kept": "1", "foreign": "x"}
	if diff := cmp.Diff(want, img.Labels); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
}

func TestCheckChain(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	ids := []digest.Digest{digest.FromString("a"), digest.FromString("b"), digest.FromString("c")}
	chain := identity.ChainIDs([]digest.Digest{ids[0], ids[1], ids[2]})
	teststore.Commit(ctx, t, s, chain[0].String(), "")
	teststore.Commit(ctx, t, s, chain[1].String(), chain[0].String())
	if err := errors.Join(s.CheckChain(ctx, nil), s.CheckChain(ctx, ids[:1]), s.CheckChain(ctx, ids[:2])); err != nil {
		t.Errorf("got %v, want whole chains", err)
	}
	if err := s.CheckChain(ctx, ids); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for a chain without its top, want not found", err)
	}
	teststore.Commit(ctx, t, s, chain[2].String(), chain[0].String())
	if err := s.CheckChain(ctx, ids); !errdefs.IsDataLoss(err) {
		t.Errorf("got %v for a snapshot on another parent, want a failed precondition", err)
	}
	if ids[0] != digest.FromString("a") || ids[2] != digest.FromString("c") {
		t.Errorf("got diff IDs %v, want them unchanged", ids)
	}
}

func TestHold(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	ctx, _, id := teststore.Lease(t, s, teststore.Ref)
	teststore.Commit(s.Context(t.Context()), t, s, "there", "")
	if _, err := s.Snapshotter.Prepare(ctx, "active", ""); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"there": true, "active": false, "absent": false} {
		held, err := s.Hold(ctx, name)
		if held != want || err != nil {
			t.Errorf("got %v and %v for %q, want %v", held, err, name, want)
		}
	}
	if !holds(t, s, id, "there") {
		t.Error("the snapshot is not under the lease")
	}
	if held, err := s.Hold(s.Context(t.Context()), "there"); !held || err != nil {
		t.Errorf("got %v and %v without a lease, want true", held, err)
	}
}

func TestUpperOf(t *testing.T) {
	tests := []struct {
		name   string
		mounts []mount.Mount
		want   store.Upper
		ok     bool
	}{
		{"bind", []mount.Mount{{Type: "bind", Source: "/r/1/fs", Options: []string{"rw", "rbind"}}}, store.Upper{Dir: "/r/1/fs"}, true},
		{
			"overlay", []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"workdir=/r/3/work", "upperdir=/r/3/fs", "lowerdir=/r/2/fs:/r/1/fs"}}},
			store.Upper{Dir: "/r/3/fs", Lowers: []string{"/r/2/fs", "/r/1/fs"}, Overlay: true}, true,
		},
		{
			"view", []mount.Mount{{Type: "overlay", Options: []string{"lowerdir=/r/2/fs:/r/1/fs"}}},
			store.Upper{Lowers: []string{"/r/2/fs", "/r/1/fs"}, Overlay: true}, true,
		},
		{"overlay without folders", []mount.Mount{{Type: "overlay", Options: []string{"index=off"}}}, store.Upper{Overlay: true}, false},
		{"nothing", nil, store.Upper{}, false},
		{"two", []mount.Mount{{Type: "bind", Source: "/a"}, {Type: "bind", Source: "/b"}}, store.Upper{}, false},
		{"a device", []mount.Mount{{Type: "ext4", Source: "/dev/mapper/x"}}, store.Upper{}, false},
	}
	for _, tt := range tests {
		got, ok := store.UpperOf(tt.mounts)
		if diff := cmp.Diff(tt.want, got); diff != "" || ok != tt.ok {
			t.Errorf("%s: got ok %v, want %v; folders differ (-want +got):\n%s", tt.name, ok, tt.ok, diff)
		}
	}
}

func TestLowers(t *testing.T) {
	for _, snapshotter := range []string{"overlayfs", "native"} {
		s := teststore.Open(t, store.Options{Snapshotter: snapshotter})
		ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
		teststore.Commit(ctx, t, s, "one", "")
		teststore.Commit(ctx, t, s, "two", "one")
		for name, want := range map[string]int{"one": 1, "two": map[string]int{"overlayfs": 2, "native": 1}[snapshotter]} {
			dirs, err := s.Lowers(ctx, name)
			if err != nil || len(dirs) != want {
				t.Errorf("%s: got %v and %v below %s, want %d folders", snapshotter, dirs, err, name, want)
			}
		}
		err := s.Snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			if info.Kind != snapshots.KindCommitted {
				t.Errorf("%s: got %s snapshot %s, want none left", snapshotter, info.Kind, info.Name)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestWritable(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	dialled := teststore.Dial(t, store.Options{Address: d.Address})
	for name, s := range map[string]*store.Store{"embedded": teststore.Open(t, store.Options{}), "daemon": dialled} {
		ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
		mounts := pulltest.Must(s.Snapshotter.Prepare(ctx, "active", ""))(t)
		if ok, why := s.Writable(ctx, "active", mounts); !ok {
			t.Errorf("%s: got no because %q, want yes", name, why)
		}
		if err := s.Snapshotter.Remove(ctx, "active"); err != nil {
			t.Error(err)
		}
	}
}

// TestNamespaces are apart from each other in one root.
func TestNamespaces(t *testing.T) {
	root := t.TempDir()
	s := teststore.Open(t, store.Options{Root: root, Namespace: "k8s.io"})
	if err := s.Register(s.Context(t.Context()), teststore.Image(teststore.Ref, "one", nil)); err != nil {
		t.Fatal(err)
	}
	s.Namespace = "default"
	if img, err := s.Image(s.Context(t.Context()), teststore.Ref); img != nil || err != nil {
		t.Errorf("got %v and %v in another namespace, want none", img, err)
	}
}

// TestCollect frees what no record refers to and no lease holds.
func TestCollect(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	ctx, l, _ := teststore.Lease(t, s, teststore.Ref)
	held := teststore.Blob(ctx, t, s, "held")
	if err := s.Collect(t.Context(), store.Garbage); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content.Info(ctx, held); err != nil {
		t.Errorf("got %v for a blob under a lease, want it kept", err)
	}
	if err := errors.Join(l.Delete(ctx), s.Collect(t.Context(), store.Garbage)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content.Info(ctx, held); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for a blob that nothing refers to, want it gone", err)
	}
}
