package pull_test

import (
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// TestPresent: where everything is as a pull would leave it, another pull
// writes nothing, and says the same as the first.
func TestPresent(t *testing.T) {
	each(t, places(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", small(t, "app", pulltest.Gzip, pulltest.Spec{}))
		first := s.mustPull(ref)
		record, blobs, snapshots := s.record(ref), s.blobs(), s.snapshots()
		second := s.mustPull(ref)
		if diff := cmp.Diff(record, s.record(ref)); diff != "" {
			t.Errorf("the record was written (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(blobs, s.blobs()); diff != "" {
			t.Errorf("blobs were written (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(snapshots, s.snapshots()); diff != "" {
			t.Errorf("snapshots were written (-before +after):\n%s", diff)
		}
		work := cmpopts.IgnoreFields(pull.Result{}, "Changed", "Previous", "Engine", "EngineReason", "Fetched", "Reused", "Unpacked", "Duration")
		if diff := cmp.Diff(first, second, work); diff != "" {
			t.Errorf("results differ (-first +second):\n%s", diff)
		}
		if second.Changed || second.Previous != first.Target.Digest || second.Unpacked != 0 {
			t.Errorf("got %+v, want a result that says that nothing was done", second)
		}
		s.noLitter()
	})
}

// TestPresentWithoutLabels: an image whose documents have lost what keeps their
// children is not whole.
func TestPresentWithoutLabels(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		img := small(t, "app", pulltest.Gzip, pulltest.Spec{})
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		first := s.mustPull(ref)
		labels := cmpopts.IgnoreFields(content.Info{}, "CreatedAt", "UpdatedAt") // a daemon may collect meanwhile what nothing keeps
		blobs := s.blobs()
		for _, dgst := range []struct{ name, digest string }{
			{"manifest", first.Platforms[0].Manifest.String()},
			{"config", first.Platforms[0].Config.String()},
		} {
			t.Run(dgst.name, func(t *testing.T) {
				for d, info := range blobs {
					if d.String() == dgst.digest {
						info.Labels = map[string]string{}
						if _, err := s.store().Content.Update(s.ctx(), info, "labels"); err != nil {
							t.Fatal(err)
						}
					}
				}
				s.mustPull(ref)
				if diff := cmp.Diff(blobs, s.blobs(), labels); diff != "" {
					t.Errorf("blobs differ from those of the first pull (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// TestPresentWithoutOthers: the documents of other platforms are part of the
// image, too.
func TestPresentWithoutOthers(t *testing.T) {
	img := pulltest.MultiPlatform(pulltest.Gzip)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		s.mustPull(ref)
		blobs := s.blobs()
		plan, err := s.puller(nil).Plan(t.Context(), s.request(ref))
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range plan.Others {
			config := digest.Digest(blobs[other.Digest].Labels["containerd.io/gc.ref.content.config"])
			if err := s.store().Content.Delete(s.ctx(), config); err != nil {
				t.Fatal(err)
			}
		}
		s.mustPull(ref)
		times := cmpopts.IgnoreFields(content.Info{}, "CreatedAt", "UpdatedAt")
		if diff := cmp.Diff(blobs, s.blobs(), times); len(plan.Others) == 0 || diff != "" {
			t.Errorf("blobs differ from those of the first pull (-want +got), of %d other manifests:\n%s", len(plan.Others), diff)
		}
	})
}

// TestPresentButUntidy: what a dead pull of the image left goes, although the
// image is whole.
func TestPresentButUntidy(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", small(t, "app", pulltest.Gzip, pulltest.Spec{}))
		name := s.mustPull(ref).Name
		_, lease, err := s.store().Lease(s.ctx(), name)
		if err != nil {
			t.Fatal(err)
		}
		lease.Abandon()
		if got := len(s.leases()); got != 1 {
			t.Fatalf("got %d leases of a dead pull, want 1", got)
		}
		s.mustPull(ref)
		s.noLitter()
	})
}

func (s *site) record(ref string) images.Image {
	s.t.Helper()
	got, err := s.store().Images.Get(s.ctx(), s.request(ref).Ref.Name)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}
