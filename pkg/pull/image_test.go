package pull_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/layer/erofs"
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
	corpus, refs := differentialImages(t), map[string]string{}
	for name, img := range corpus {
		refs[name] = testregistry.Push(t, reg, "team/"+name+":1", img)
	}
	for _, p := range imagePlaces() {
		t.Run(p.name, func(t *testing.T) {
			s, plain := newSite(t, p), newSite(t, places()[0])
			start := time.Now()
			top := map[string]string{}
			for name, ref := range refs {
				result := s.mustPull(ref)
				if result.Engine != pull.EngineClient {
					t.Errorf("%s: got engine %s (%s), want the client", name, result.Engine, result.EngineReason)
				}
				plain.mustPull(ref)
				top[name] = result.Platforms[0].ChainID.String()
			}
			s.noLitter()
			c := check.Checker{Store: s.store(), Deep: true}
			if reports, err := c.Check(t.Context(), []images.Image{*s.image(refs["index"])}); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("got %+v and %v of a deep check, want it refused", reports, err)
			}
			for name, top := range top {
				if diff := tree.Diff(withoutTimesOf(start, s.shown(top)), withoutTimesOf(start, plain.tree(top))); diff != "" {
					t.Errorf("%s: trees differ: %s", name, diff)
				}
			}
		})
	}
}

// shown is the tree that a daemon shows, which is started on an embedded root.
func (s *site) shown(name string) []tree.Entry {
	s.t.Helper()
	s.boot("2.4")
	return s.tree(name)
}

// TestImagesAreMended: a layer whose image is lost or cut is unpacked once more, and what
// is on top of it stays.
func TestImagesAreMended(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, reg, "team/app:1", layered(t, implicitParents()...))
	for _, p := range imagePlaces() {
		t.Run(p.name, func(t *testing.T) {
			s, start := newSite(t, p), time.Now()
			top := s.mustPull(ref).Platforms[0].ChainID.String()
			s.collect() // what was tried first
			files := s.erofsFiles()
			if len(files) != len(implicitParents()) {
				t.Fatalf("got %v, want an image for each layer", files)
			}
			for _, damage := range []func(file string) error{
				os.Remove,
				func(file string) error { return os.Truncate(file, 0) },
				func(file string) error { return os.RemoveAll(filepath.Dir(file)) },
			} {
				if err := damage(files[1]); err != nil {
					t.Fatal(err)
				}
				c := check.Checker{Store: s.store()}
				reports, err := c.Check(t.Context(), []images.Image{*s.image(ref)})
				if err != nil || reports[0].Whole() || !strings.Contains(reports[0].Findings[0].Message, "EROFS image") {
					t.Errorf("got %+v and %v of a check, want the damage", reports, err)
				}
				s.mustPull(ref)
				s.noLitter()
			}
			plain := newSite(t, places()[0])
			plain.mustPull(ref)
			if diff := tree.Diff(withoutTimesOf(start, s.shown(top)), withoutTimesOf(start, plain.tree(top))); diff != "" {
				t.Errorf("trees differ: %s", diff)
			}
		})
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

// TestImagesThatAreLayers: a layer that is an EROFS image already is taken as it is, and
// layers above take after it.
func TestImagesThatAreLayers(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{})
	layers := implicitParents()
	archives := testregistry.Push(t, reg, "team/archives:1", layered(t, layers...))
	plain, start := newSite(t, places()[0]), time.Now()
	plain.mustPull(archives)
	want := withoutTimesOf(start, plain.tree(layered(t, layers...).ChainIDs()[len(layers)-1].String()))
	for i, p := range imagePlaces() {
		t.Run(p.name, func(t *testing.T) {
			c := []pulltest.Compression{pulltest.Uncompressed, pulltest.Zstd}[i]
			spec := pulltest.Spec{Layers: []pulltest.Layer{pulltest.LayerFromTar(c, erofsImage(t, pulltest.Tar(layers[0]...)))}}
			for _, files := range layers[1:] {
				spec.Layers = append(spec.Layers, pulltest.NewLayer(pulltest.Gzip, files...))
			}
			spec.EditManifest = func(m *ocispec.Manifest) {
				m.Layers[0].MediaType = images.MediaTypeErofsLayer + strings.Repeat("+zstd", i)
			}
			s := newSite(t, p)
			result := s.mustPull(testregistry.Push(t, reg, "team/image:1"+string(c), pulltest.NewImage(spec)))
			if result.Engine != pull.EngineClient {
				t.Errorf("got engine %s (%s), want the client", result.Engine, result.EngineReason)
			}
			s.noLitter()
			if diff := tree.Diff(withoutTimesOf(start, s.shown(result.Platforms[0].ChainID.String())), want); diff != "" {
				t.Errorf("trees differ: %s", diff)
			}
			spec.Layers[0] = pulltest.LayerFromTar(c, pulltest.Tar(layers[0]...))
			if _, err := s.pull(testregistry.Push(t, reg, "team/other:1"+string(c), pulltest.NewImage(spec))); !errdefs.IsDataLoss(err) {
				t.Errorf("got %v of an archive for an image, want it refused", err)
			}
			s.noLitter()
		})
	}
}

// erofsImage makes an image of an archive.
func erofsImage(t *testing.T, archive []byte) []byte {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	image := erofs.New(file, erofs.NewBudget(1<<20))
	if _, err := layer.Apply(t.Context(), image, bytes.NewReader(archive), layer.Options{Whiteouts: layer.InPlace}); err != nil {
		t.Fatal(err)
	}
	if err := image.Finish(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}
