package root_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

func TestOpenRefuses(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	if s, err := root.Open(t.Context(), store.Options{Root: t.TempDir(), Snapshotter: "zfs"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v and %v with snapshotter zfs, want an invalid argument", s, err)
	}
	if s, err := root.Open(t.Context(), store.Options{Root: "/dev/null/root"}); err == nil {
		t.Errorf("got %v in a folder that cannot be, want an error", s)
	}
}
