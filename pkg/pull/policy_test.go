package pull_test

import (
	"net/http"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

func withPolicy(p pull.Policy) func(*pull.Request) {
	return func(r *pull.Request) { r.Policy = p }
}

// TestPolicy counts what each policy asks the registry, with the image absent,
// whole, and changed at the registry.
func TestPolicy(t *testing.T) {
	tests := []struct {
		policy            pull.Policy
		absent            bool // is it pulled when it is absent?
		requests          int  // when it is whole
		follows, survives bool // a tag that moved; a registry that is gone
	}{
		{pull.PolicyAlways, true, 1, true, false},
		{pull.PolicyMissing, true, 0, false, true},
		{pull.PolicyNewer, true, 1, true, true},
		{pull.PolicyNever, false, 0, false, true},
	}
	for _, tt := range tests {
		t.Run(string(tt.policy), func(t *testing.T) {
			each(t, twoPlaces(), func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				first := small(t, "first", pulltest.Gzip, pulltest.Spec{})
				ref := testregistry.Push(t, reg, "team/app:1", first)
				s.checkAbsent(t, ref, tt.policy, tt.absent)
				s.mustPull(ref)

				reg.ResetLog()
				result := s.mustPull(ref, withPolicy(tt.policy))
				if got := len(reg.Requests()); got != tt.requests || result.Changed {
					t.Errorf("got %d requests and changed %v for a whole image, want %d and false", got, result.Changed, tt.requests)
				}
				second := small(t, "second", pulltest.Gzip, pulltest.Spec{})
				testregistry.Push(t, reg, "team/app:1", second)
				if got := s.mustPull(ref, withPolicy(tt.policy)).Changed; got != tt.follows {
					t.Errorf("got changed %v for a tag that moved, want %v", got, tt.follows)
				}
				reg.Stop()
				if _, err := s.pull(ref, withPolicy(tt.policy)); (err == nil) != tt.survives {
					t.Errorf("got error %v without a registry, want none: %v", err, tt.survives)
				}
				s.noLitter()
			})
		})
	}
}

func (s *site) checkAbsent(t *testing.T, ref string, policy pull.Policy, want bool) {
	t.Helper()
	_, err := s.pull(ref, withPolicy(policy))
	if (err == nil) != want || err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("got error %v for an absent image, want none: %v", err, want)
	}
}

// TestDigestNeedsNoNetwork holds for every policy: what has the digest is what
// was asked for.
func TestDigestNeedsNoNetwork(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		img := small(t, "pinned", pulltest.Gzip, pulltest.Spec{})
		ref := testregistry.Push(t, reg, "team/pinned:1", img) + "@" + img.Desc.Digest.String()
		s.mustPull(ref)
		reg.ResetLog()
		s.mustPull(ref)
		if got := reg.Requests(); len(got) > 0 {
			t.Errorf("got %d requests for a digest that is whole, want none", len(got))
		}
	})
}

// TestPolicyLabels gives labels to an image that is not pulled again.
func TestPolicyLabels(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", small(t, "labels", pulltest.Gzip, pulltest.Spec{}))
		s.mustPull(ref, func(r *pull.Request) { r.Labels = map[string]string{"a": "1"} })
		s.mustPull(ref, withPolicy(pull.PolicyMissing), func(r *pull.Request) { r.Labels = map[string]string{"b": "2"} })
		if got := s.image(ref).Labels; got["a"] != "1" || got["b"] != "2" {
			t.Errorf("got labels %v, want a=1 and b=2", got)
		}
	})
}

// TestUpdateCheck: under each policy that asks, an image that has not changed costs
// one HEAD and no GET, so that ten images every five minutes stay below the limit
// of Docker Hub, which counts no HEAD (hub-feedback#2093, harbor#13112). One that has
// changed costs one GET of each document that is new.
func TestUpdateCheck(t *testing.T) {
	for _, policy := range []pull.Policy{pull.PolicyAlways, pull.PolicyNewer} {
		each(t, twoPlaces(), func(t *testing.T, s *site) {
			reg := testregistry.Start(t, testregistry.Options{})
			ref := testregistry.Push(t, reg, "team/app:1", small(t, "first", pulltest.Gzip, pulltest.Spec{}))
			s.mustPull(ref)
			reg.ResetLog()
			for range 3 {
				if got := s.mustPull(ref, withPolicy(policy)); got.Changed || got.Fetched != 0 {
					t.Errorf("%s: got changed %v and %d bytes fetched, want false and none", policy, got.Changed, got.Fetched)
				}
			}
			for _, req := range reg.Requests() {
				if req.Method != http.MethodHead || req.Kind() != "manifests" {
					t.Errorf("%s: got %s %s for an unchanged image, want HEAD of the manifest alone", policy, req.Method, req.Path)
				}
			}
			if n := len(reg.Requests()); n != 3 {
				t.Errorf("%s: got %d requests for three checks, want 3", policy, n)
			}
			testregistry.Push(t, reg, "team/app:1", small(t, "second", pulltest.Gzip, pulltest.Spec{}))
			reg.ResetLog()
			if !s.mustPull(ref, withPolicy(policy)).Changed {
				t.Errorf("%s: got an unchanged image, want the new one", policy)
			}
			gets := 0
			for _, req := range reg.Requests() {
				if req.Method == http.MethodGet && req.Kind() == "manifests" {
					gets++
				}
			}
			if gets != 1 {
				t.Errorf("%s: got %d GETs of manifests for a changed image, want 1", policy, gets)
			}
			s.noLitter()
		})
	}
}
