package store_test

import (
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

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
