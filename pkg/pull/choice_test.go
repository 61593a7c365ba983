package pull_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// elsewhere is a platform that this host is not.
func elsewhere() ocispec.Platform {
	if platforms.DefaultSpec().Architecture == "arm64" {
		return ocispec.Platform{OS: "linux", Architecture: "amd64"}
	}
	return ocispec.Platform{OS: "linux", Architecture: "arm64"}
}

func imageFor(p ocispec.Platform, seed string) *pulltest.Image {
	return pulltest.SmallVariant(pulltest.Spec{Platform: p}, pulltest.Gzip, seed)
}

// listedAs is img as an index lists it that says p of its platform, or nothing.
func listedAs(img *pulltest.Image, p *ocispec.Platform) *pulltest.Image {
	entry := *img
	entry.Desc.Platform = p
	return &entry
}

// artifact is what is no image.
func artifact() *pulltest.Image {
	return pulltest.NewImage(pulltest.Spec{
		EditConfig: func(c *ocispec.Image) { c.Platform = ocispec.Platform{} },
		EditManifest: func(m *ocispec.Manifest) {
			m.ArtifactType, m.Config.MediaType = "application/vnd.example", "application/vnd.example.config"
		},
	})
}

// TestF4ChoiceOfContainerd: what is unpacked is what images.Manifest finds in the
// store, and what it would not find is no such platform.
func TestF4ChoiceOfContainerd(t *testing.T) {
	host, other := platforms.DefaultSpec(), elsewhere()
	here, there := imageFor(host, "here"), imageFor(other, "there")
	bare, bareThere := listedAs(here, nil), listedAs(there, nil)
	noOS := listedAs(here, &ocispec.Platform{Architecture: host.Architecture, Variant: host.Variant})
	unknown := listedAs(imageFor(host, "attestation"), &ocispec.Platform{OS: "unknown", Architecture: "unknown"})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		for name, tt := range map[string]struct {
			index *pulltest.Image
			found bool
		}{
			"plain":           {pulltest.NewIndex(there, here), true},
			"nested":          {pulltest.NewIndex(pulltest.NewIndex(here), pulltest.NewIndex(there)), true},
			"nested-second":   {pulltest.NewIndex(pulltest.NewIndex(there), pulltest.NewIndex(here)), false},
			"beside-index":    {pulltest.NewIndex(pulltest.NewIndex(there), here), true},
			"bare":            {pulltest.NewIndex(bare, bareThere), true},
			"bare-second":     {pulltest.NewIndex(bareThere, bare), false},
			"artifact":        {pulltest.NewIndex(listedAs(artifact(), nil), there), false},
			"artifact-beside": {pulltest.NewIndex(listedAs(artifact(), nil), here), true},
			"artifact-alone":  {pulltest.NewIndex(listedAs(artifact(), nil)), false},
			"no-os":           {pulltest.NewIndex(there, noOS), true},
			"attestation":     {pulltest.NewIndex(unknown, there), false},
			"twice":           {pulltest.NewIndex(listedAs(here, &other), here), true},
		} {
			ref := testregistry.Push(t, reg, "team/"+name+":1", tt.index)
			result, err := s.pull(ref)
			if !tt.found {
				if !isNoPlatform(err) || s.image(ref) != nil {
					t.Errorf("%s: got %v and record %v, want no such platform and none", name, err, s.image(ref))
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			s.wantFound(result, platforms.Default(), here)
		}
		s.noLitter()
	})
}

// isNoPlatform reports whether err says that there is no image for the platform.
func isNoPlatform(err error) bool {
	return errdefs.IsNotFound(err) && strings.Contains(err.Error(), "no image for")
}

// wantFound wants containerd to find img under the name of the result, unpacked.
func (s *site) wantFound(result *pull.Result, want platforms.MatchComparer, img *pulltest.Image) {
	s.t.Helper()
	m, err := images.Manifest(s.ctx(), s.store().Content, result.Target, want)
	if err != nil || m.Config.Digest != img.Config.Digest {
		s.t.Errorf("%s: containerd finds an image of config %q (%v), want %s", result.Name, m.Config.Digest, err, img.Config.Digest)
	}
	ids := img.ChainIDs()
	last := result.Platforms[len(result.Platforms)-1]
	if last.Config != img.Config.Digest || last.ChainID != ids[len(ids)-1] {
		s.t.Errorf("%s: got config %s on %s, want %s on %s", result.Name, last.Config, last.ChainID, img.Config.Digest, ids[len(ids)-1])
	}
}

// TestF4Variants: a platform that is asked for is matched as containerd does it
// when the image is run there.
func TestF4Variants(t *testing.T) {
	var all []*pulltest.Image
	byName := map[string]*pulltest.Image{}
	for _, name := range []string{"linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/amd64", "linux/amd64/v2"} {
		byName[name] = imageFor(platforms.MustParse(name), name)
		all = append(all, byName[name])
	}
	s := newSite(t, places()[0])
	reg := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, reg, "team/variants:1", pulltest.NewIndex(all...))
	for asked, found := range map[string]string{
		"linux/arm/v6": "linux/arm/v6", "linux/arm/v8": "linux/arm/v7", "linux/arm": "linux/arm/v7",
		"linux/amd64": "linux/amd64", "linux/amd64/v3": "linux/amd64/v2",
	} {
		s.wantFound(s.mustPull(ref, withPlatforms(asked)), platforms.Only(platforms.MustParse(asked)), byName[found])
	}
	if _, err := s.pull(ref, withPlatforms("linux/riscv64")); !isNoPlatform(err) || !strings.Contains(err.Error(), "linux/arm/v5") {
		t.Errorf("got %v, want no such platform, and those that there are", err)
	}
}

// oddities are what may be wrong with a document of another platform.
func oddities(t *testing.T) map[string]func(good *pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
	edited := func(edit func(*ocispec.Manifest)) func(*pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
		return func(good *pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
			m := manifestOf(t, good)
			edit(&m)
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return pulltest.RawImage(ocispec.MediaTypeImageManifest, raw), serve(ocispec.MediaTypeImageManifest, raw)
		}
	}
	all := map[string]func(*pulltest.Image) (*pulltest.Image, testregistry.Behaviour){
		"no config":         edited(func(m *ocispec.Manifest) { m.Config = ocispec.Descriptor{} }),
		"config too large":  edited(func(m *ocispec.Manifest) { m.Config.Size = 5 << 20 }),
		"config of no size": edited(func(m *ocispec.Manifest) { m.Config.Size = -1 }),
		"config size":       edited(func(m *ocispec.Manifest) { m.Config.Size++ }),
		"config is absent":  edited(func(m *ocispec.Manifest) { m.Config.Digest = ocispec.DescriptorEmptyJSON.Digest }),
		"other bytes": func(good *pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
			return good, serve(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{}}`))
		},
		"no JSON": func(*pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
			return pulltest.RawImage(ocispec.MediaTypeImageManifest, []byte("{")), serve(ocispec.MediaTypeImageManifest, []byte("{"))
		},
		"media type": func(good *pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
			return good, serve(images.MediaTypeDockerSchema2Manifest, good.Raw)
		},
		"size": func(good *pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
			lie := *good
			lie.Desc.Size++
			return &lie, serve(ocispec.MediaTypeImageManifest, good.Raw)
		},
		"too large": func(good *pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
			lie := *good
			lie.Desc.Size = 1 << 30
			return &lie, serve(ocispec.MediaTypeImageManifest, good.Raw)
		},
	}
	for _, status := range []int{401, 403, 404, 412, 429, 451, 500, 502, 503} {
		all[fmt.Sprint(status)] = func(good *pulltest.Image) (*pulltest.Image, testregistry.Behaviour) {
			return good, testregistry.Behaviour{Status: status}
		}
	}
	return all
}

func serve(mediaType string, raw []byte) testregistry.Behaviour {
	return testregistry.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Write(raw) // fails only for a client that has gone
	})}
}

// TestF8OtherPlatformsOnlyWarn: what is wrong with the documents of another
// platform, an index of its own among them, costs the image for this host
// nothing. Where all platforms are wanted it is an error.
func TestF8OtherPlatformsOnlyWarn(t *testing.T) {
	here := imageFor(platforms.DefaultSpec(), "here")
	other := elsewhere()
	s := newSite(t, places()[0])
	for name, oddity := range oddities(t) {
		for _, nested := range []bool{false, true} {
			reg := testregistry.Start(t, testregistry.Options{})
			odd, how := oddity(imageFor(other, "there"))
			if nested {
				odd, how = oddIndex(odd, how)
			}
			path := fmt.Sprintf("team/%s-%t:1", strings.ReplaceAll(strings.ToLower(name), " ", "-"), nested)
			index := pulltest.NewIndex(listedAs(odd, &other), here)
			testregistry.Push(t, reg, path, here)
			ref := pushRaw(t, reg, path, index.Desc.MediaType, json.RawMessage(index.Raw))
			reg.SetBehave(first(answer(path, index.Desc.MediaType, index.Raw), onBlob(odd.Desc.Digest, how)))
			var warnings warningList
			result, err := s.puller(warnings.add).Pull(t.Context(), s.request(ref))
			if err != nil {
				t.Errorf("%s, nested %t: %v", name, nested, err)
				continue
			}
			s.wantFound(result, platforms.Default(), here)
			if got := warnings.list(); len(got) != 1 || !strings.Contains(got[0], "leaving out") {
				t.Errorf("%s, nested %t: got warnings %q, want one", name, nested, got)
			}
			if _, err := s.pull(ref, func(r *pull.Request) { r.AllPlatforms = true }); err == nil {
				t.Errorf("%s, nested %t: got all platforms, want an error", name, nested)
			}
		}
	}
	s.noLitter()
}

// oddIndex is an index that cannot be had for the reason why a manifest cannot.
func oddIndex(odd *pulltest.Image, how testregistry.Behaviour) (*pulltest.Image, testregistry.Behaviour) {
	index := pulltest.NewIndex(odd)
	if how.Handler != nil {
		how = serve(ocispec.MediaTypeImageManifest, index.Raw)
	}
	return index, how
}

// first behaves as the first that wants to.
func first(all ...testregistry.Behave) testregistry.Behave {
	return func(r *http.Request) testregistry.Behaviour {
		for _, behave := range all {
			if b := behave(r); b.Handler != nil || b.Status != 0 {
				return b
			}
		}
		return testregistry.Behaviour{}
	}
}

// TestF7BlobsBesideLayers: what is no layer is fetched and kept, has no diff ID,
// and is in the way of no layer.
func TestF7BlobsBesideLayers(t *testing.T) {
	plain := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{
		pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("first", "1")), pulltest.NewLayer(pulltest.Uncompressed, pulltest.Regular("second", "2")),
	}})
	module := pulltest.NewBlob([]byte("\x00asm\x01"))
	beside := ocispec.Descriptor{MediaType: "application/wasm", Digest: module.Digest, Size: module.Size}
	each(t, places(), func(t *testing.T, s *site) {
		for at := range 3 {
			reg := testregistry.Start(t, testregistry.Options{})
			img := pulltest.NewImage(pulltest.Spec{Layers: plain.Layers, EditManifest: func(m *ocispec.Manifest) { m.Layers = slices.Insert(m.Layers, at, beside) }})
			keeper := *img
			keeper.Layers = append(slices.Clone(img.Layers), pulltest.Layer{Blob: module})
			ref := testregistry.Push(t, reg, fmt.Sprintf("team/wasm:%d", at), &keeper)
			for _, unpack := range []pull.Unpack{pull.UnpackAlways, pull.UnpackAuto} {
				result := s.mustPull(ref, func(r *pull.Request) { r.Unpack = unpack })
				if got := result.Platforms[0].Layers; len(got) != 3 {
					t.Errorf("got layers %v in the result, want all that the manifest lists", got)
				}
			}
			s.wantChains([]*pulltest.Image{img})
			s.collect()
			if _, ok := s.blobs()[module.Digest]; !ok {
				t.Errorf("the blob beside the layers is gone")
			}
			if err := s.store().Content.Delete(s.ctx(), module.Digest); err != nil {
				t.Fatal(err)
			}
			s.mustPull(ref)
			if _, ok := s.blobs()[module.Digest]; !ok {
				t.Errorf("the blob beside the layers was not fetched again")
			}
		}
		s.noLitter()
	})
}

// TestF8LayersThatCannotBeUnpacked: a file system for another snapshotter is kept
// with all platforms, and an error where it is what was asked for.
func TestF8LayersThatCannotBeUnpacked(t *testing.T) {
	erofs := pulltest.SmallVariant(pulltest.Spec{Platform: elsewhere(), EditManifest: func(m *ocispec.Manifest) {
		for i := range m.Layers {
			m.Layers[i].MediaType = images.MediaTypeErofsLayer
		}
	}}, pulltest.Uncompressed, "erofs")
	here := imageFor(platforms.DefaultSpec(), "here")
	s := newSite(t, places()[0])
	reg := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, reg, "team/erofs:1", pulltest.NewIndex(erofs, here))
	var warnings warningList
	result, err := s.puller(warnings.add).Pull(t.Context(), s.request(ref, func(r *pull.Request) { r.AllPlatforms = true }))
	if err != nil {
		t.Fatal(err)
	}
	s.wantFound(result, platforms.Default(), here)
	s.wantChains([]*pulltest.Image{here})
	if got := warnings.list(); len(got) != 1 || !strings.Contains(got[0], "not unpacked") || !strings.Contains(got[0], images.MediaTypeErofsLayer) {
		t.Errorf("got warnings %q, want one of the layers", got)
	}
	if _, err := s.pull(ref, withPlatforms(platforms.FormatAll(elsewhere()))); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v, want an error for what cannot be unpacked", err)
	}
	if !progressKnows(result) {
		t.Errorf("got %+v, want the layers of both platforms", result.Platforms)
	}
}

func progressKnows(result *pull.Result) bool {
	return len(result.Platforms) == 2 && !result.Platforms[0].Unpacked && result.Platforms[1].Unpacked
}
