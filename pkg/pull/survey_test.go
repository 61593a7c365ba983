package pull_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// TestMissing wants a plan to say what the store lacks, before the pull, after
// it, and after one thing or another was removed.
func TestMissing(t *testing.T) {
	img := small(t, "missing", pulltest.Gzip, pulltest.Spec{})
	layers := manifestOf(t, img).Layers
	chain := img.ChainIDs()
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		documents := []ocispec.Descriptor{img.Desc, manifestOf(t, img).Config}
		var bytes, unpacked int64
		for _, l := range layers {
			bytes, unpacked = bytes+l.Size, unpacked+l.Size
		}
		for _, d := range documents {
			bytes += d.Size
		}
		s.wantMissing(t, ref, pull.Missing{
			Documents: documents, Layers: layers, Snapshots: chain, Record: true,
			Bytes: bytes, Unpacked: unpacked, Inodes: int64(len(documents) + len(layers) + len(chain)),
		})
		s.mustPull(ref)
		s.wantMissing(t, ref, pull.Missing{})
		s.wantMissing(t, ref, pull.Missing{Record: true}, func(r *pull.Request) { r.Labels = map[string]string{"a": "b"} })

		top := layers[len(layers)-1]
		s.remove(t, top.Digest, chain[len(chain)-1]) // the snapshots below go with it
		s.wantMissing(t, ref, pull.Missing{
			Layers: []ocispec.Descriptor{top}, Snapshots: chain, Bytes: top.Size, Unpacked: unpacked, Inodes: int64(1 + len(chain)),
		})
		s.mustPull(ref)
		s.wantMissing(t, ref, pull.Missing{})
	})
}

// wantMissing plans ref and compares what is missing.
func (s *site) wantMissing(t *testing.T, ref string, want pull.Missing, edits ...func(*pull.Request)) {
	t.Helper()
	plan, err := s.puller(nil).Plan(t.Context(), s.request(ref, edits...))
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(ocispec.Descriptor{}, "Annotations", "Platform")}
	if diff := cmp.Diff(want, plan.Missing, same); diff != "" {
		t.Errorf("what is missing differs (-want +got):\n%s", diff)
	}
	if nothing := cmp.Equal(want, pull.Missing{}); plan.Missing.Nothing() != nothing {
		t.Errorf("got Nothing %v of %+v, want %v", plan.Missing.Nothing(), plan.Missing, nothing)
	}
}

// remove removes a blob, the snapshot made of it, and what only they kept.
func (s *site) remove(t *testing.T, blob, snapshot digest.Digest) {
	t.Helper()
	if err := s.store().Snapshotter.Remove(s.ctx(), snapshot.String()); err != nil {
		t.Fatal(err)
	}
	if err := s.store().Content.Delete(s.ctx(), blob); err != nil {
		t.Fatal(err)
	}
	s.collect()
}
