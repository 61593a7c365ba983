package pull_test

import (
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// TestF9DefaultACLsBelow: what a layer puts into a directory of a layer below
// takes after its default ACL, whatever the snapshotter and however many layers
// are unpacked at once; and it is counted once that it was unpacked.
func TestF9DefaultACLsBelow(t *testing.T) {
	img := layered(t, acls()...)
	each(t, places(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/acl:1", img)
		var mu sync.Mutex
		done := map[progress.Kind]int{}
		sink := func(e progress.Event) {
			mu.Lock()
			defer mu.Unlock()
			done[e.Kind]++
		}
		result, err := s.puller(sink).Pull(t.Context(), s.request(ref, func(r *pull.Request) { r.DiscardLayers = true }))
		if err != nil {
			t.Fatal(err)
		}
		byPath := map[string]tree.Entry{}
		for _, e := range s.tree(result.Platforms[0].ChainID.String()) {
			byPath[e.Path] = e
		}
		for path, want := range map[string]bool{
			"/shared/file": true, "/shared/plain/deep": true, "/shared/new/deep/file": true, "/shared/new/another": true, "/aside": false,
		} {
			if _, got := byPath[path].Xattrs["system.posix_acl_access"]; got != want || byPath[path].Path == "" {
				t.Errorf("%s has an ACL: got %t, want %t", path, got, want)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if n := len(img.Layers); done[progress.UnpackStart] != n || done[progress.UnpackDone] != n {
			t.Errorf("got %d layers begun and %d unpacked, want %d", done[progress.UnpackStart], done[progress.UnpackDone], n)
		}
		var size int64
		for _, files := range acls() {
			size += int64(len(pulltest.Tar(files...)))
		}
		if result.Unpacked != size {
			t.Errorf("got %d bytes unpacked, want %d", result.Unpacked, size)
		}
		s.noLitter()
	})
}
