package root_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
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

// TestOpenWaits until the root is free, or until its context ends.
func TestOpenWaits(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	o := store.Options{Root: t.TempDir()}
	first, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop waiting")
	cancel(stop)
	if _, err := root.Open(ctx, o); !errors.Is(err, stop) {
		t.Errorf("got %v from an open that was cancelled, want its cause", err)
	}
	opened := make(chan error)
	go func() {
		second, err := root.Open(t.Context(), o)
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Errorf("got a root that is held, and %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("got %v when the root was free", err)
	}
}

// TestOpenOfADaemonsRoot does not wait: a daemon holds the metadata for good.
func TestOpenOfADaemonsRoot(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	o := store.Options{Root: t.TempDir()}
	st, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	held, err := bolt.Open(filepath.Join(o.Root, "io.containerd.metadata.v1.bolt", "meta.db"), 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := root.Open(t.Context(), o); !errors.Is(err, store.ErrBusy) {
		t.Errorf("got %v, want %v", err, store.ErrBusy)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Errorf("got %v after the daemon has gone", err)
	}
}

// TestTraits are those of containerd's packages in this process.
func TestTraits(t *testing.T) {
	for _, snapshotter := range root.Snapshotters() {
		s := teststore.Open(t, store.Options{Snapshotter: snapshotter})
		isOverlay := snapshotter != store.Native
		want := store.Traits{Applies: true, AppliesHere: true, ReplacesStrays: true, TakesUsage: isOverlay, Rebase: isOverlay}
		if diff := cmp.Diff(want, s.Traits()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", snapshotter, diff)
		}
		if err := s.Transfer(t.Context(), store.Transfer{}); !errors.Is(err, store.ErrNoTransfer) {
			t.Errorf("got %v from a transfer, want %v", err, store.ErrNoTransfer)
		}
	}
}

// TestReopen finds what was flushed, and what was only closed.
func TestReopen(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for _, snapshotter := range root.Snapshotters() {
		o := store.Options{Root: t.TempDir(), Snapshotter: snapshotter}
		s, err := root.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
		blob := teststore.Blob(ctx, t, s, "a blob")
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		teststore.Commit(ctx, t, s, "layer", "")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = teststore.Open(t, o)
		if _, err := s.Content.Info(s.Context(t.Context()), blob); err != nil {
			t.Errorf("%s: got %v for the blob, want it there", snapshotter, err)
		}
		if there, err := s.Has(s.Context(t.Context()), "layer"); !there || err != nil {
			t.Errorf("%s: got %v and %v for the snapshot, want it there", snapshotter, there, err)
		}
	}
}
