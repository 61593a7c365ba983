package pull_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// TestDamageThatNamespacesShare damages a blob that two namespaces have, whose file
// containerd gives to every other one as well. A pull into a third heals it for all:
// into one that has the image, and into one that has nothing yet.
func TestDamageThatNamespacesShare(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		s.close() // each part opens one namespace after the other
		kinds := []string{"manifest", "config", "layer"}
		for n, d := range blobDamages() {
			k, isNew := n%len(kinds), n != 1 && n != 3
			t.Run(fmt.Sprintf("%s %s, new %t", kinds[k], d.name, isNew), func(t *testing.T) {
				name := fmt.Sprint("team/app:", n)
				img := small(t, name, pulltest.Gzip, pulltest.Spec{})
				parsed := manifestOf(t, img)
				desc := []ocispec.Descriptor{img.Desc, parsed.Config, parsed.Layers[0]}[k]
				part := *s
				part.t = t
				defer part.close()
				part.healShared(t, testregistry.Push(t, reg, name, img), d, desc, isNew)
			})
		}
	})
}

// healShared pulls ref into two namespaces, and into a third unless that is to be new,
// damages a blob and pulls into the third.
func (s *site) healShared(t *testing.T, ref string, d blobDamage, desc ocispec.Descriptor, isNew bool) {
	t.Helper()
	inEach := func(do func(ns string)) {
		for _, s.namespace = range []string{"one", "two", "three"} {
			s.close()
			do(s.namespace)
		}
	}
	labels := map[string]map[digest.Digest]map[string]string{}
	inEach(func(ns string) {
		if ns == "three" && isNew {
			return
		}
		s.mustPull(ref)
		labels[ns] = map[digest.Digest]map[string]string{}
		for dgst, info := range s.blobs() {
			labels[ns][dgst] = maps.Clone(info.Labels)
		}
	})
	s.damageBlob(t, d, desc)
	s.mustPull(ref)
	inEach(func(ns string) {
		s.mustPull(ref, withPolicy(pull.PolicyNever))
		s.wantFiles(t, desc)
		s.noLitter()
		for dgst, want := range labels[ns] {
			if diff := cmp.Diff(want, s.blobs()[dgst].Labels); diff != "" {
				t.Errorf("the labels of %s in namespace %s changed (-want +got):\n%s", dgst, ns, diff)
			}
		}
	})
	inEach(func(string) { s.forget(ref) })
}

// TestSizesThatNeighboursDeny pulls an image that gives a blob of another namespace a size
// that it does not have. The image is refused, and the other namespace keeps all.
func TestSizesThatNeighboursDeny(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		layers := []pulltest.Layer{pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("shared", "by two"))}
		good := testregistry.Push(t, reg, "team/good:1", pulltest.NewImage(pulltest.Spec{Layers: layers}))
		s.close()
		s.namespace = "one"
		s.mustPull(good)
		want := s.blobs()
		for name, lie := range map[string]func(m *ocispec.Manifest){
			"layer": func(m *ocispec.Manifest) { m.Layers[0].Size++ }, "config": func(m *ocispec.Manifest) { m.Config.Size-- },
		} {
			ref := testregistry.Push(t, reg, "team/"+name+":1", pulltest.NewImage(pulltest.Spec{Layers: layers, EditManifest: lie}))
			s.close()
			s.namespace = "two"
			if _, err := s.pull(ref); !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) {
				t.Errorf("%s: got error %v, want that the image is wrong", name, err)
			}
			s.noLitter()
			s.close()
			s.namespace = "one"
			if diff := cmp.Diff(want, s.blobs()); diff != "" {
				t.Errorf("%s: the blobs of the other namespace changed (-before +after):\n%s", name, diff)
			}
			s.mustPull(good, withPolicy(pull.PolicyNever))
		}
	})
}
