package pull_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestPlanChangesNothing and says what would be done.
func TestPlanChangesNothing(t *testing.T) {
	index := pulltest.MultiPlatform(pulltest.Gzip)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/multi:1", index)
		plan, err := s.puller(nil).Plan(t.Context(), s.request(ref))
		if err != nil {
			t.Fatal(err)
		}
		host := hostImage(index)
		if plan.Name != ref || plan.Target.Digest != index.Desc.Digest || plan.Previous != "" || plan.Host != reg.Host() {
			t.Errorf("got plan %+v, want %s at %s", plan, index.Desc.Digest, reg.Host())
		}
		if len(plan.Images) != 1 || plan.Images[0].Manifest.Digest != host.Desc.Digest || !slices.Equal(plan.Images[0].DiffIDs, host.DiffIDs()) || !plan.Images[0].Unpack {
			t.Errorf("got images %+v, want the one of this host", plan.Images)
		}
		if len(plan.Others) != 2 {
			t.Errorf("got %d other manifests, want 2", len(plan.Others))
		}
		if n := len(s.blobs()) + len(s.snapshots()) + len(s.leases()) + len(s.ingests()); n != 0 || s.image(ref) != nil {
			t.Errorf("got %d things stored and record %v, want nothing", n, s.image(ref))
		}
		s.mustPull(ref)
		plan, err = s.puller(nil).Plan(t.Context(), s.request(ref))
		if err != nil {
			t.Fatal(err)
		}
		if plan.Previous != index.Desc.Digest {
			t.Errorf("got previous target %q, want %s", plan.Previous, index.Desc.Digest)
		}
	})
}

// nested is an image in n indexes, one in the other.
func nested(t *testing.T, n int) *pulltest.Image {
	t.Helper()
	img := small(t, "nested", pulltest.Gzip, pulltest.Spec{})
	for range n {
		img = pulltest.NewIndex(img)
	}
	return img
}

// TestNestedIndexes are followed to a depth.
func TestNestedIndexes(t *testing.T) {
	s := newSite(t, places()[0])
	reg := testregistry.Start(t, testregistry.Options{})
	for depth, want := range map[int]func(error) bool{8: nil, 9: errdefs.IsInvalidArgument} {
		ref := testregistry.Push(t, reg, fmt.Sprintf("team/nested:%d", depth), nested(t, depth))
		_, err := s.pull(ref)
		if want == nil && err != nil || want != nil && !want(err) {
			t.Errorf("got %v from %d indexes in each other", err, depth)
		}
	}
	s.noLitter()
}

// TestWideIndex has more descriptors than any image needs; it
// is refused before any of them is fetched.
func TestWideIndex(t *testing.T) {
	s := newSite(t, places()[0])
	s.options.ManifestBytes = 16 << 20
	reg := testregistry.Start(t, testregistry.Options{})
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for i := range 10_001 {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Size: 100, Digest: digest.FromString(fmt.Sprint(i)),
			Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"},
		})
	}
	ref := pushRaw(t, reg, "team/wide:1", ocispec.MediaTypeImageIndex, index)
	start := time.Now()
	if _, err := s.pull(ref); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v, want an invalid argument", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("got the error after %s, want it within seconds", took)
	}
}

// pushRaw serves any document under a name. The registry checks documents that
// it stores, so it is told to answer with it.
func pushRaw(t *testing.T, reg *testregistry.Registry, name, mediaType string, doc any) string {
	t.Helper()
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	reg.SetBehave(answer(name, mediaType, raw))
	return reg.Ref(name)
}

// TestBrokenDocuments are invalid, whatever is wrong with them.
func TestBrokenDocuments(t *testing.T) {
	s := newSite(t, places()[0])
	reg := testregistry.Start(t, testregistry.Options{})
	good := small(t, "broken", pulltest.Gzip, pulltest.Spec{})
	manifest := func(change func(*ocispec.Manifest)) ocispec.Manifest {
		var m ocispec.Manifest
		if err := json.Unmarshal(good.Raw, &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		return m
	}
	both := map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "manifests": []any{}, "layers": []any{}, "config": map[string]any{},
	}
	tests := map[string]struct {
		mediaType string
		doc       any
	}{
		"layers and manifests": {ocispec.MediaTypeImageManifest, both},
		"index as manifest":    {ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []any{}}},
		"layer digest":         {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../etc/passwd" })},
		"layer algorithm":      {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Layers[0].Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" })},
		"layer of no size":     {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Layers[0].Size = 0 })},
		"layer of minus size":  {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Layers[0].Size = -1 })},
		"config digest":        {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Config.Digest = "x" })},
		"config of minus size": {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Config.Size = -1 })},
		"config too big":       {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Config.Size = 5 << 20 })},
		"layer missing":        {ocispec.MediaTypeImageManifest, manifest(func(m *ocispec.Manifest) { m.Layers = m.Layers[1:] })},
		"schema 1":             {"application/vnd.docker.distribution.manifest.v1+prettyjws", map[string]any{"schemaVersion": 1, "name": "x", "fsLayers": []any{}}},
	}
	testregistry.Push(t, reg, "team/good:1", good)
	for name, tt := range tests {
		ref := pushRaw(t, reg, "team/good:broken", tt.mediaType, tt.doc)
		result, err := s.pull(ref)
		if !damage(err) {
			t.Errorf("%s: got %+v and %v, want the class of damage", name, result, err)
		}
		if s.image(ref) != nil {
			t.Errorf("%s: got a record, want none", name)
		}
	}
	s.noLitter()
	s.empty()
}

// TestLayersTwice unpacks a layer as often as it is listed, and fetches it once.
func TestLayersTwice(t *testing.T) {
	layer := pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"), pulltest.Regular("etc/file", "x"))
	other := pulltest.NewLayer(pulltest.Gzip, pulltest.Whiteout("etc/file"))
	img := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{layer, other, layer, other, layer}})
	each(t, places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/twice:1", img)
		s.mustPull(ref)
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		for dgst, n := range reg.BlobGets() {
			if n != 1 {
				t.Errorf("got %d requests for %s, want one", n, dgst)
			}
		}
		s.usable(t, ref)
	})
}

// TestNoLayers registers an image that has none.
func TestNoLayers(t *testing.T) {
	img := pulltest.NewImage(pulltest.Spec{})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/scratch:1", img)
		if result := s.mustPull(ref); !result.Changed || result.Target.Digest != img.Desc.Digest {
			t.Errorf("got %+v, want a new record", result)
		}
		s.noLitter()
		s.wantChains(nil)
	})
}

// TestReservedNamesInImages never become labels: what an image says of itself
// is not what containerd says of it.
func TestReservedNamesInImages(t *testing.T) {
	hostile := map[string]string{
		"containerd.io/gc.root": "yes", "containerd.io/uncompressed": "sha256:x", "containerd.io/gc.ref.snapshot.overlayfs": "theirs",
		"containerd.io/snapshot/uidmapping": "0:100000:65536", "containerd.io/snapshot/ours": "inherited",
	}
	img := small(t, "hostile", pulltest.Gzip, pulltest.Spec{
		EditConfig: func(c *ocispec.Image) { c.Config.Labels = hostile },
		EditManifest: func(m *ocispec.Manifest) {
			m.Annotations = hostile
			for i := range m.Layers {
				m.Layers[i].Annotations = hostile
			}
			m.Config.Annotations = hostile
		},
	})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/hostile:1", img)
		s.mustPull(ref)
		s.checkBlobs(t, ref, img)
		if labels := s.image(ref).Labels; len(labels) > 0 {
			t.Errorf("got record with %v, want no labels", labels)
		}
		for name, info := range s.snapshots() {
			if info.Labels["containerd.io/gc.root"] != "" || info.Labels["containerd.io/snapshot/uidmapping"] != "" {
				t.Errorf("got snapshot %s with %v, want no such labels", name, info.Labels)
			}
			if info.Labels["containerd.io/snapshot/ours"] != "inherited" {
				t.Errorf("got snapshot %s with %v, want what containerd lets layers say of snapshots", name, info.Labels)
			}
		}
	})
}

// TestErrorSaysWhere a pull failed.
func TestErrorSaysWhere(t *testing.T) {
	s := newSite(t, places()[0])
	reg := testregistry.Start(t, testregistry.Options{})
	missing := pulltest.MissingLayer(1)
	testregistry.Push(t, reg, "team/missing:1", missing)
	testregistry.Push(t, reg, "team/config:1", pulltest.ConfigNotJSON())
	for name, want := range map[string]pull.Error{
		"team/absent:1":  {Stage: pull.StageResolve, Host: reg.Host()},
		"team/missing:1": {Stage: pull.StageFetch, Host: reg.Host(), Digest: missing.Layers[1].Digest},
		"team/config:1":  {Stage: pull.StagePlan},
	} {
		_, err := s.pull(reg.Ref(name))
		got, ok := asError(err)
		if !ok || got.Stage != want.Stage || got.Host != want.Host || got.Digest != want.Digest || got.Ref != reg.Ref(name) {
			t.Errorf("got %+v of %s, want %+v", got, name, want)
		}
		if err == nil || !strings.Contains(err.Error(), name[:len(name)-2]) {
			t.Errorf("got %q, want it to name %s", err, name)
		}
	}
}

// TestReferences of all kinds are registered under the name that containerd
// knows them by.
func TestReferences(t *testing.T) {
	s := newSite(t, places()[0])
	reg := testregistry.Start(t, testregistry.Options{})
	img := small(t, "references", pulltest.Gzip, pulltest.Spec{})
	tagged := testregistry.Push(t, reg, "team/app:1", img)
	testregistry.Push(t, reg, "team/app:latest", img)
	bare := strings.TrimSuffix(tagged, ":1")
	at := "@" + img.Desc.Digest.String()
	for ref, want := range map[string]string{tagged: tagged, bare: bare + ":latest", bare + at: bare + at, tagged + at: tagged} {
		if got := s.mustPull(ref).Name; got != want || s.image(want) == nil {
			t.Errorf("got name %s and record %v for %s, want %s", got, s.image(want), ref, want)
		}
	}
	wrong := tagged + "@" + digest.FromString("another").String()
	ref, err := source.ParseRef(wrong)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.pull(wrong); err == nil || s.image(ref.String()) != nil {
		t.Errorf("got %v for a tag with another digest, want an error", err)
	}
}

// TestLabelsOfTheRecord are those asked for, beside those there were.
func TestLabelsOfTheRecord(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", small(t, "labels", pulltest.Gzip, pulltest.Spec{}))
		s.mustPull(ref, func(r *pull.Request) { r.Labels = map[string]string{"a": "1", "b": "1"} })
		s.mustPull(ref, func(r *pull.Request) { r.Labels = map[string]string{"b": "2"} })
		want := map[string]string{"a": "1", "b": "2"}
		if diff := cmp.Diff(want, s.image(ref).Labels); diff != "" {
			t.Errorf("labels differ (-want +got):\n%s", diff)
		}
	})
}
