package pull_test

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestContract is what every kind of store is held to, with an image as they
// are in life.
func TestContract(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Contents("debian.tar.gz", "npm.tar.gz"))
	reg := testregistry.Start(t, testregistry.Options{})
	img := pulltest.RealImage(t)
	t.Run("places", func(t *testing.T) {
		each(t, append(places(), imagePlaces()...), func(t *testing.T, s *site) {
			// Each place has its own repository, so that requests can be told apart.
			ref := testregistry.Push(t, reg, "team/"+strings.ReplaceAll(s.name, " ", "-")+":1", img)
			s.firstPull(t, ref, img)
			s.secondPull(t, ref, reg)
			s.usable(t, ref)
			if got := s.run(s.daemon, ref); !strings.HasPrefix(got, "12") {
				t.Errorf("got %q from the container, want Debian's version", got)
			}
		})
	})
}

// TestContractSmall is the same with every kind of compression and with
// Docker's media types.
func TestContractSmall(t *testing.T) {
	images := map[string]*pulltest.Image{"docker": small(t, "docker", pulltest.Gzip, pulltest.Spec{Docker: true})}
	for _, c := range []pulltest.Compression{pulltest.Uncompressed, pulltest.Gzip, pulltest.Zstd} {
		images["oci"+string(c)] = small(t, "oci"+string(c), c, pulltest.Spec{})
	}
	each(t, append(places(), imagePlaces()...), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		for name, img := range images {
			ref := testregistry.Push(t, reg, "team/"+name+":1", img)
			s.mustPull(ref)
			s.noLitter()
			if got := s.image(ref); got == nil || got.Target.Digest != img.Desc.Digest {
				t.Errorf("got record %+v of %s, want %s", got, ref, img.Desc.Digest)
			}
		}
		s.secondPull(t, reg.Ref("team/docker:1"), reg)
		for name := range images {
			s.usable(t, reg.Ref("team/"+name+":1"))
		}
	})
}

// firstPull pulls and compares what is there with what the image says.
func (s *site) firstPull(t *testing.T, ref string, img *pulltest.Image) {
	t.Helper()
	result := s.mustPull(ref)
	top := img.ChainIDs()[len(img.Layers)-1]
	if !result.Changed || result.Target.Digest != img.Desc.Digest || len(result.Platforms) != 1 || result.Platforms[0].ChainID != top {
		t.Errorf("got result %+v, want %s with chain ID %s", result, img.Desc.Digest, top)
	}
	if result.Engine != "client" {
		t.Errorf("got engine %q because %s, want the client's", result.Engine, result.EngineReason)
	}
	record := s.image(ref)
	if record == nil || record.Target.Digest != img.Desc.Digest || record.Target.MediaType != img.Desc.MediaType || record.Target.Size != img.Desc.Size {
		t.Errorf("got record %+v, want %+v", record, img.Desc)
	}
	s.checkBlobs(t, ref, img)
	s.checkSnapshots(t, img)
	s.noLitter()
	if in := s.ingests(); len(in) > 0 {
		t.Errorf("got ingests %+v, want none", in)
	}
}

// checkBlobs compares the content store with the image: nothing else, and the
// labels that containerd gives.
func (s *site) checkBlobs(t *testing.T, ref string, img *pulltest.Image) {
	t.Helper()
	parsed, err := source.ParseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	repository := parsed.Path
	source := map[string]string{"containerd.io/distribution.source.127.0.0.1": repository}
	want := map[digest.Digest]map[string]string{}
	manifest := maps.Clone(source)
	manifest["containerd.io/gc.ref.content.config"] = img.Config.Digest.String()
	for i, l := range img.Layers {
		manifest["containerd.io/gc.ref.content.l."+strconv.Itoa(i)] = l.Digest.String()
		labels := maps.Clone(source)
		labels["containerd.io/uncompressed"] = l.DiffID.String()
		want[l.Digest] = labels
	}
	config := maps.Clone(source)
	config["containerd.io/gc.ref.snapshot."+s.snapshotter] = img.ChainIDs()[len(img.Layers)-1].String()
	want[img.Desc.Digest], want[img.Config.Digest] = manifest, config
	got := map[digest.Digest]map[string]string{}
	for dgst, info := range s.blobs() {
		got[dgst] = info.Labels
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("labels of the blobs differ (-want +got):\n%s", diff)
	}
}

// checkSnapshots compares names, parents and labels of the chain.
func (s *site) checkSnapshots(t *testing.T, img *pulltest.Image) {
	t.Helper()
	type snapshot struct {
		Parent string
		Labels map[string]string
	}
	want, got := map[string]snapshot{}, map[string]snapshot{}
	parent := ""
	for i, id := range img.ChainIDs() {
		labels := map[string]string{
			"containerd.io/snapshot.ref":     id.String(),
			"containerd.io/snapshot/diff-id": img.Layers[i].DiffID.String(),
		}
		if parent != "" {
			labels["containerd.io/snapshot/parent-chain-id"] = parent
		}
		want[id.String()] = snapshot{parent, labels}
		parent = id.String()
	}
	for name, info := range s.snapshots() {
		got[name] = snapshot{info.Parent, info.Labels}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshots differ (-want +got):\n%s", diff)
	}
}

// secondPull wants no blob to be asked for, and nothing changed.
func (s *site) secondPull(t *testing.T, ref string, reg *testregistry.Registry) {
	t.Helper()
	path := strings.TrimPrefix(strings.TrimSuffix(ref, ":1"), reg.Host())
	before := countRequests(reg, path)
	result := s.mustPull(ref)
	if result.Changed || result.Fetched > result.Target.Size {
		t.Errorf("got changed=%v and %d bytes fetched by the second pull, want no change and the manifest at most", result.Changed, result.Fetched)
	}
	if got := countRequests(reg, path) - before; got != 0 {
		t.Errorf("got %d requests for blobs by the second pull, want none", got)
	}
	s.noLitter()
}

func countRequests(reg *testregistry.Registry, repository string) int {
	n := 0
	for _, r := range reg.Requests() {
		if r.Kind() == "blobs" && strings.HasPrefix(r.Path, "/v2"+repository+"/") {
			n++
		}
	}
	return n
}

// usable wants the daemon, started on the root if there is none, to find the
// image ready, also after a garbage collection.
func (s *site) usable(t *testing.T, ref string) {
	t.Helper()
	d := s.boot("2.4")
	s.ready(d, ref)
	if err := d.Collect(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	s.ready(d, ref)
}

// small is an image of few files that shares no layer with those of other
// seeds.
func small(t testing.TB, seed string, c pulltest.Compression, spec pulltest.Spec) *pulltest.Image {
	t.Helper()
	return pulltest.SmallVariant(spec, c, seed)
}
