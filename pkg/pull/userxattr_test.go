package pull_test

import (
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
)

// The configurations by which containerd mounts with userxattr.
const (
	withUserXattr      = "[plugins.'io.containerd.snapshotter.v1.overlayfs']\nmount_options = ['userxattr']\n"
	erofsWithUserXattr = "[plugins.'io.containerd.snapshotter.v1.erofs']\novl_mount_options = ['userxattr']\n"
)

// TestF11UserXattr: where overlayfs is mounted with userxattr, what is deleted stays
// deleted, and an image cannot pass an attribute off as overlayfs's own.
func TestF11UserXattr(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	forged := pulltest.Directory("forged")
	forged.Xattrs = map[string]string{"user.overlay.opaque": "y", "user.plain": "1"}
	corpus := map[string]*pulltest.Image{
		"implicit": layered(t, implicitParents()...),
		"replaced": layered(t, replacements()...),
		"forged":   layered(t, []pulltest.File{pulltest.Regular("forged/below", "1")}, []pulltest.File{forged, pulltest.Regular("forged/above", "2")}),
	}
	start := time.Now()
	plain := newSite(t, places()[0])
	for _, p := range append(imagePlaces()[:1], place{name: "2.4", snapshotter: "overlayfs", version: "2.4"}, place{name: "1.7", snapshotter: "overlayfs", version: "1.7"}) {
		t.Run(p.name, func(t *testing.T) {
			s := bareSite(t, p)
			t.Cleanup(s.close)
			s.serve(testdaemon.Options{Version: p.version, Config: withUserXattr + erofsWithUserXattr})
			for name, img := range corpus {
				ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/"+name+":1", img)
				result := s.mustPull(ref)
				if result.Engine != "client" {
					t.Errorf("%s: got engine %s (%s), want the client", name, result.Engine, result.EngineReason)
				}
				plain.mustPull(ref)
				if is, err := s.store().UserXattr(s.ctx(), result.Platforms[0].ChainID.String()); !is || err != nil {
					t.Fatalf("got %t and %v, want a daemon that mounts with userxattr", is, err)
				}
				top := result.Platforms[0].ChainID.String()
				want, got := withoutTimesOf(start, plain.tree(top)), withoutTimesOf(start, s.tree(top))
				for i := range want {
					delete(want[i].Xattrs, "user.overlay.opaque")
				}
				if diff := tree.Diff(got, want); diff != "" {
					t.Errorf("%s: trees differ: %s", name, diff)
				}
				c := check.Checker{Store: s.store(), Deep: p.snapshotter == "overlayfs"}
				reports, err := c.Check(t.Context(), []images.Image{*s.image(ref)})
				if err != nil || !reports[0].Whole() {
					t.Errorf("%s: got %+v and %v, want the image whole", name, reports, err)
				}
			}
			s.noLitter()
		})
	}
}
