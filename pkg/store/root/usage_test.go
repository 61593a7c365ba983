package root_test

import (
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestCommitWithUsage: overlayfs believes what it is told, and looks for itself
// if it is told nothing, as other snapshotters always do. What is committed is
// the same.
func TestCommitWithUsage(t *testing.T) {
	told := snapshots.Usage{Inodes: 12, Size: 34 << 10}
	for _, name := range []string{"overlayfs", "native"} {
		t.Run(name, func(t *testing.T) {
			s := teststore.Open(t, store.Options{Snapshotter: name})
			ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
			for _, key := range []string{"below", "above"} {
				if _, err := s.Snapshotter.Prepare(ctx, "active "+key, ""); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Snapshotter.Commit(ctx, "below", "active below"); err != nil {
				t.Fatal(err)
			}
			labels := map[string]string{"a": "b"}
			err := s.Snapshotter.Commit(store.WithUsage(ctx, told), "above", "active above", snapshots.WithParent("below"), snapshots.WithLabels(labels))
			if err != nil {
				t.Fatal(err)
			}
			info, err := s.Snapshotter.Stat(ctx, "above")
			if err != nil {
				t.Fatal(err)
			}
			if info.Kind != snapshots.KindCommitted || info.Parent != "below" || info.Labels["a"] != "b" {
				t.Errorf("got snapshot %+v, want it committed on %q with labels %v", info, "below", labels)
			}
			seen, err := s.Snapshotter.Usage(ctx, "below")
			if err != nil {
				t.Fatal(err)
			}
			if seen.Inodes != 1 {
				t.Errorf("got %d inodes of an empty snapshot, want 1", seen.Inodes)
			}
			want := seen
			if name == "overlayfs" {
				want = told
			}
			got, err := s.Snapshotter.Usage(ctx, "above")
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got usage %+v, want %+v", got, want)
			}
		})
	}
}
