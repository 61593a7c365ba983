package pull_test

import (
	"fmt"
	"maps"
	"testing"

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
