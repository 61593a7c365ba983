package pull_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// erofsFiles lists the images of layers that there are, finished or not.
func (s *site) erofsFiles() []string {
	s.t.Helper()
	all, err := filepath.Glob(filepath.Join(s.root, "io.containerd.snapshotter.v1.erofs", "snapshots", "*", "layer.erofs*"))
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// TestImages: what snapshotter erofs shows of images of this program is what overlayfs
// shows of folders.
func TestImages(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{})
	s, plain := newSite(t, imagePlaces()[0]), newSite(t, places()[0])
	start := time.Now()
	for name, img := range differentialImages(t) {
		ref := testregistry.Push(t, reg, "team/"+name+":1", img)
		result := s.mustPull(ref)
		if result.Engine != pull.EngineClient {
			t.Errorf("%s: got engine %s (%s), want the client", name, result.Engine, result.EngineReason)
		}
		plain.mustPull(ref)
		top := result.Platforms[0].ChainID.String()
		if diff := tree.Diff(withoutTimesOf(start, s.tree(top)), withoutTimesOf(start, plain.tree(top))); diff != "" {
			t.Errorf("%s: trees differ: %s", name, diff)
		}
	}
	s.noLitter()
	c := check.Checker{Store: s.store(), Deep: true}
	if reports, err := c.Check(t.Context(), []images.Image{*s.image(reg.Ref("team/index:1"))}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got %+v and %v of a deep check, want it refused", reports, err)
	}
}

// TestImagesAreMended: a layer whose image is lost or cut is unpacked once more, and what
// is on top of it stays.
func TestImagesAreMended(t *testing.T) {
	s, start := newSite(t, imagePlaces()[0]), time.Now()
	ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", layered(t, implicitParents()...))
	top := s.mustPull(ref).Platforms[0].ChainID.String()
	want := withoutTimesOf(start, s.tree(top))
	files := s.erofsFiles()
	if len(files) != len(implicitParents()) {
		t.Fatalf("got %v, want an image for each layer", files)
	}
	for name, damage := range map[string]func(file string) error{
		"gone":   os.Remove,
		"empty":  func(file string) error { return os.Truncate(file, 0) },
		"folder": func(file string) error { return os.RemoveAll(filepath.Dir(file)) },
	} {
		if err := damage(files[1]); err != nil {
			t.Fatal(err)
		}
		c := check.Checker{Store: s.store()}
		reports, err := c.Check(t.Context(), []images.Image{*s.image(ref)})
		if err != nil || reports[0].Whole() || !strings.Contains(reports[0].Findings[0].Message, "EROFS image") {
			t.Errorf("%s: got %+v and %v of a check, want the damage", name, reports, err)
		}
		s.mustPull(ref)
		if diff := tree.Diff(withoutTimesOf(start, s.tree(top)), want); diff != "" {
			t.Errorf("%s: trees differ: %s", name, diff)
		}
		s.noLitter()
	}
}

// TestImagesThatFail: nothing is left of an image whose layer turns out to be wrong.
func TestImagesThatFail(t *testing.T) {
	s := newSite(t, imagePlaces()[0])
	img := pulltest.NewImage(pulltest.Spec{
		Layers: []pulltest.Layer{pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("one", "1")), pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("../two", "2"), pulltest.Hardlink("three", "nothing"))},
	})
	ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
	if _, err := s.pull(ref); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v, want the layer refused", err)
	}
	s.noLitter()
	s.collect()
	if files := s.erofsFiles(); len(files) > 0 {
		t.Errorf("got %v left, want nothing", files)
	}
}

// TestImagesOfOtherKinds: where snapshotter erofs keeps layers in another way than in
// files beside its folders, the client does not write them.
func TestImagesOfOtherKinds(t *testing.T) {
	s := bareSite(t, imagePlaces()[0])
	t.Cleanup(s.close)
	pulltest.Need(t, pulltest.Root)
	s.serve(testdaemon.Options{Version: "2.4", Config: "[plugins.'io.containerd.snapshotter.v1.erofs']\ndefault_size = '16MiB'\n"})
	ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", small(t, "block", pulltest.Gzip, pulltest.Spec{}))
	_, err := s.pull(ref, withEngine(pull.EngineClient))
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "not a plain folder") {
		t.Errorf("got %v, want engine client refused", err)
	}
	s.noLitter()
}
