package pull_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

func programs(dir string) trust.Bindir {
	return trust.Bindir{Dir: dir, Max: 10, Timeout: 500 * time.Millisecond}
}

// judging is a daemon's configuration of programs that judge pulls.
func judging(t testing.TB, allow bool) testdaemon.Options {
	return judgingBy(pulltest.Verifiers(t, map[string]string{"judge": pulltest.Verdict(allow, "the judge says so")}))
}

func judgingBy(dir string) testdaemon.Options {
	return testdaemon.Options{Config: fmt.Sprintf("[plugins.\"io.containerd.image-verifier.v1.bindir\"]\n  bin_dir = %q\n", dir)}
}

// refused wants err to be a refusal of dgst, and nothing registered.
func (s *site) refused(err error, ref string, dgst digest.Digest, reason string) {
	s.t.Helper()
	r, ok := errors.AsType[*trust.Refusal](err)
	if !ok {
		s.t.Errorf("got %v, want a refusal", err)
		return
	}
	if r.Digest != dgst || !strings.Contains(r.Reason, reason) {
		s.t.Errorf("got a refusal of %s: %s; want one of %s: …%s", r.Digest, r.Reason, dgst, reason)
	}
	if e, ok := asError(err); !ok || e.Stage != pull.StageVerify || e.Digest != dgst {
		s.t.Errorf("got %#v, want stage verify and digest %s", e, dgst)
	}
	if img := s.image(ref); img != nil {
		s.t.Errorf("got record %+v of a refused image, want none", img)
	}
	s.noLitter()
}

// fetchedNothing wants no blob to have been asked for.
func fetchedNothing(t *testing.T, reg *testregistry.Registry) {
	t.Helper()
	if got := reg.BlobGets(); len(got) > 0 {
		t.Errorf("got GETs of blobs %v, want nothing fetched but manifests", got)
	}
}

// TestVerifierRefuses is case V1: a verifier that denies or cannot answer.
func TestVerifierRefuses(t *testing.T) {
	all := append(twoPlaces(), place{name: "containerd 1.7", snapshotter: "overlayfs", version: "1.7"})
	for _, tc := range []struct {
		name, reason string
		verifier     trust.Verifier
	}{
		{"denies", "the judge says so", programs(pulltest.Verifiers(t, map[string]string{"a": pulltest.Verdict(true, ""), "b": pulltest.Verdict(false, "the judge says so")}))},
		{"times out", "for 500ms at most", programs(pulltest.Verifiers(t, map[string]string{"a": "#!/bin/sh\nsleep 60\n"}))},
		{"is missing", "no such file", programs(filepath.Join(t.TempDir(), "none"))},
		{"cannot be executed", "verifier a ", programs(pulltest.Verifiers(t, map[string]string{"a": "#!/none/such\n"}))},
		{"wants a digest", "no digest", trust.Pinned{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			each(t, all, func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				img := small(t, "refused", pulltest.Gzip, pulltest.Spec{})
				ref := testregistry.Push(t, reg, "team/app:1", img)
				s.verify = tc.verifier
				_, err := s.pull(ref)
				s.refused(err, ref, img.Desc.Digest, tc.reason)
				fetchedNothing(t, reg)
				s.empty()
			})
		})
	}
}

// TestVerifierAllows pulls, and by the digest where only digests are allowed.
func TestVerifierAllows(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		img := small(t, "allowed", pulltest.Gzip, pulltest.Spec{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.verify = programs(pulltest.Verifiers(t, map[string]string{"a": pulltest.Verdict(true, "fine")}))
		s.mustPull(ref)
		s.usable(t, ref)
		s.verify = trust.Pinned{}
		s.mustPull(testregistry.Push(t, reg, "team/other:1", img) + "@" + img.Desc.Digest.String())
		s.noLitter()
	})
}

// TestVerifierJudgesWhatIsThere: an image that is whole in the store needs no
// network, but the same verdict as any other.
func TestVerifierJudgesWhatIsThere(t *testing.T) {
	deny := programs(pulltest.Verifiers(t, map[string]string{"a": pulltest.Verdict(false, "the judge says so")}))
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		img := small(t, "there", pulltest.Gzip, pulltest.Spec{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.mustPull(ref)
		reg.Stop()
		s.verify = deny
		for _, policy := range []pull.Policy{pull.PolicyMissing, pull.PolicyNewer, pull.PolicyNever, pull.PolicyAlways} {
			asked := ref
			if policy == pull.PolicyAlways {
				asked += "@" + img.Desc.Digest.String()
			}
			_, err := s.pull(asked, withPolicy(policy))
			if r, ok := errors.AsType[*trust.Refusal](err); !ok || r.Digest != img.Desc.Digest {
				t.Errorf("policy %s: got %v, want a refusal of %s", policy, err, img.Desc.Digest)
			}
			if s.image(ref) == nil {
				t.Errorf("policy %s: got no record, want that of before", policy)
			}
		}
	})
}

// TestJudgedAgainAfterRestart kills the daemon in the middle of a pull that its
// verifiers allowed. Those of the daemon that comes back are asked again, and
// their word counts.
func TestJudgedAgainAfterRestart(t *testing.T) {
	img := noisyImage(t, noise)
	for name, allow := range map[string]bool{"still allowed": true, "denied by now": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := pulltest.Verifiers(t, map[string]string{"judge": pulltest.Verdict(true, "")})
			s := newSite(t, place{snapshotter: "overlayfs"})
			s.serve(judgingBy(dir))
			reg := testregistry.Start(t, testregistry.Options{})
			ref := testregistry.Push(t, reg, "team/app:1", img)
			reg.SetBehave(slowly(2 * noise))
			asked := filepath.Join(t.TempDir(), "asked")
			verdict := strings.Replace(pulltest.Verdict(allow, "not any more"), "\n", "\ntouch "+asked+"\n", 1)
			var g errgroup.Group
			restart := halfway(&g, img.Layers[1], func() error {
				return errors.Join(s.daemon.Kill(), pulltest.WriteProgram(filepath.Join(dir, "judge"), verdict, 0o755), s.daemon.Start(t.Context()))
			})
			_, err := s.puller(restart).Pull(t.Context(), s.request(ref))
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(asked); err != nil {
				t.Errorf("got %v, want the verifier asked again", err)
			}
			if allow {
				if err != nil {
					t.Errorf("got %v, want success", err)
				}
				s.noLitter()
				return
			}
			if r, ok := errors.AsType[*trust.Refusal](err); !ok || !strings.Contains(r.Reason, "not any more") {
				t.Errorf("got %v, want a refusal", err)
			}
			if got := s.image(ref); got != nil {
				t.Errorf("got record %+v of a refused image, want none", got)
			}
			s.noLitter()
		})
	}
}

// TestDaemonVerifiers pulls by each engine into a daemon that has programs to
// judge pulls, with no verifier of the caller's.
func TestDaemonVerifiers(t *testing.T) {
	for name, allow := range map[string]bool{"accepting": true, "rejecting": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, place{snapshotter: "overlayfs"})
			s.serve(judging(t, allow))
			for _, engine := range []pull.Engine{pull.EngineAuto, pull.EngineClient, pull.EngineDaemon, pull.EngineTransfer} {
				t.Run(string(engine), func(t *testing.T) {
					s := s.in(t)
					reg := testregistry.Start(t, testregistry.Options{})
					img := small(t, name+string(engine), pulltest.Gzip, pulltest.Spec{})
					ref := testregistry.Push(t, reg, "team/app:1", img)
					result, err := s.pull(ref, withEngine(engine))
					if !allow {
						s.refused(err, ref, img.Desc.Digest, "the judge says so")
						fetchedNothing(t, reg)
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if engine != pull.EngineAuto && result.Engine != engine || engine == pull.EngineAuto && result.Engine != pull.EngineClient {
						t.Errorf("got engine %s because %s, want %s", result.Engine, result.EngineReason, engine)
					}
					s.usable(t, ref)
				})
			}
		})
	}
}

// TestVerifiersThatCannotBeKnown: through a socket that is not the daemon's own
// nothing can be known of its programs, so that only the daemon may pull.
func TestVerifiersThatCannotBeKnown(t *testing.T) {
	for name, allow := range map[string]bool{"accepting": true, "rejecting": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, place{snapshotter: "overlayfs"})
			s.serve(judging(t, allow))
			s.relay = true
			for _, tc := range []struct {
				name   string
				engine pull.Engine
				edit   func(*pull.Request)
				can    bool
				reason string
			}{
				{"auto", pull.EngineAuto, nil, true, "image verifier bindir blocked pull"},
				{"transfer", pull.EngineTransfer, nil, true, "image verifier bindir blocked pull"},
				{"client", pull.EngineClient, nil, false, "engine client would pass them by"},
				{"daemon", pull.EngineDaemon, nil, false, "engine daemon would pass them by"},
				{"auto with a setting that it cannot be told", pull.EngineAuto, func(r *pull.Request) { r.NotForTransfer = []string{"--sync-fs"} }, false, "engine transfer cannot honour --sync-fs"},
			} {
				t.Run(tc.name, func(t *testing.T) {
					s := s.in(t)
					reg := testregistry.Start(t, testregistry.Options{})
					img := small(t, name+tc.name, pulltest.Gzip, pulltest.Spec{})
					ref := testregistry.Push(t, reg, "team/app:1", img)
					result, err := s.pull(ref, withEngine(tc.engine), func(r *pull.Request) {
						if tc.edit != nil {
							tc.edit(r)
						}
					})
					if !allow || !tc.can {
						s.refused(err, ref, img.Desc.Digest, tc.reason)
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					why := "cannot be known here"
					if tc.engine == pull.EngineTransfer {
						why = "asked for"
					}
					if result.Engine != "transfer" || !strings.Contains(result.EngineReason, why) {
						t.Errorf("got engine %s because %q, want transfer because …%s", result.Engine, result.EngineReason, why)
					}
					s.usable(t, ref)
				})
			}
		})
	}
}

// TestL8DaemonVerifiersJudgeWhatIsThere: an image that another client has brought is
// judged by the daemon's verifiers under every policy and with every engine, and
// refused where they cannot be asked.
func TestL8DaemonVerifiersJudgeWhatIsThere(t *testing.T) {
	s := newSite(t, place{snapshotter: "overlayfs"})
	s.serve(judging(t, false))
	img := small(t, "l8", pulltest.Gzip, pulltest.Spec{})
	ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
	s.daemon.Ctr(t, "images", "pull", "--local", "--plain-http", ref)
	for _, relay := range []bool{false, true} {
		s.close()
		s.relay = relay
		for _, engine := range []pull.Engine{pull.EngineAuto, pull.EngineClient, pull.EngineDaemon, pull.EngineTransfer} {
			for _, policy := range []pull.Policy{pull.PolicyAlways, pull.PolicyMissing, pull.PolicyNewer, pull.PolicyNever} {
				for _, asked := range []string{ref, ref + "@" + img.Desc.Digest.String()} {
					_, err := s.pull(asked, withPolicy(policy), withEngine(engine))
					if r, ok := errors.AsType[*trust.Refusal](err); !ok || r.Digest != img.Desc.Digest {
						t.Errorf("%s by policy %s with engine %s, relay %v: got %v, want a refusal", asked, policy, engine, relay, err)
					}
				}
			}
		}
		s.noLitter()
	}
}

// TestAutoLeavesAllToTheDaemon: a process without the right to write layers,
// and a daemon whose diff service is switched off. Where its transfer service
// is of no use either, nothing is registered.
func TestAutoLeavesAllToTheDaemon(t *testing.T) {
	pulltest.Need(t, pulltest.Program("setpriv"))
	for _, version := range []string{"2.4", "1.7"} {
		t.Run(version, func(t *testing.T) {
			s := newSite(t, place{snapshotter: "overlayfs"})
			s.serve(testdaemon.Options{Version: version, Disabled: []string{"io.containerd.service.v1.diff-service"}})
			reg := testregistry.Start(t, testregistry.Options{})
			img := small(t, "left", pulltest.Gzip, pulltest.Spec{})
			ref := testregistry.Push(t, reg, "team/app:1", img)

			_, err := s.pull(ref, withEngine(pull.EngineDaemon))
			if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "no diff service") || s.image(ref) != nil {
				t.Errorf("got %v from engine daemon, want that there is no diff service", err)
			}
			out, err := s.child(ref, "setpriv", "--bounding-set", "-mknod").CombinedOutput()
			if version == "1.7" {
				if err == nil || !strings.Contains(string(out), "no diff service") || !strings.Contains(string(out), "no transfer service") || s.image(ref) != nil {
					t.Errorf("got %v and %s, want that neither service is there, and no record", err, out)
				}
				s.noLitter()
				return
			}
			if want := "transfer: containerd has no diff service"; err != nil || !strings.HasPrefix(string(out), want) {
				t.Fatalf("got %v and %q, want %s…", err, out, want)
			}
			s.noLitter()
			s.checkSnapshots(t, img)
			s.usable(t, ref)
		})
	}
}

// TestAutoLeavesWhatIsDeclined: the daemon's diff service is there and cannot
// apply the layers, which are not fetched a second time.
func TestAutoLeavesWhatIsDeclined(t *testing.T) {
	pulltest.Need(t, pulltest.Program("setpriv"))
	s := newSite(t, place{snapshotter: "overlayfs"})
	s.serve(testdaemon.Options{})
	s.declines = true
	reg := testregistry.Start(t, testregistry.Options{})
	img := small(t, "declined", pulltest.Gzip, pulltest.Spec{})
	ref := testregistry.Push(t, reg, "team/app:1", img)
	out, err := s.child(ref, "setpriv", "--bounding-set", "-mknod").CombinedOutput()
	if want := "transfer: containerd has no diff service"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Fatalf("got %v and %q, want %s…", err, out, want)
	}
	if got := reg.BlobGets()[img.Layers[0].Digest]; got != 1 {
		t.Errorf("got %d GETs of the first layer, want 1", got)
	}
	s.noLitter()
	s.usable(t, ref)
}

// TestRunRegistersWhatWasJudged and nothing else.
func TestRunRegistersWhatWasJudged(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", small(t, "judged", pulltest.Gzip, pulltest.Spec{}))
		p := s.puller(nil)
		plan, err := p.Plan(t.Context(), s.request(ref))
		if err != nil {
			t.Fatal(err)
		}
		plan.Target.Digest = small(t, "other", pulltest.Gzip, pulltest.Spec{}).Desc.Digest
		_, err = p.Run(t.Context(), plan)
		s.refused(err, ref, plan.Target.Digest, "the digest that was judged is")
		fetched := reg.BlobGets()
		if len(fetched) > 1 { // the config is read to plan
			t.Errorf("got GETs of blobs %v, want none of layers", fetched)
		}
	})
}

// TestTransferOfATagThatMoved: the daemon resolves by itself. It gets the
// digest where a verifier has judged it; otherwise what it registered instead
// is undone.
func TestTransferOfATagThatMoved(t *testing.T) {
	s := newSite(t, place{snapshotter: "overlayfs"})
	s.serve(testdaemon.Options{})
	allow := programs(pulltest.Verifiers(t, map[string]string{"a": pulltest.Verdict(true, "fine")}))
	for name, v := range map[string]trust.Verifier{"unverified": nil, "verified": allow} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			s.verify = v
			reg := testregistry.Start(t, testregistry.Options{})
			old := small(t, "old", pulltest.Gzip, pulltest.Spec{})
			ref := testregistry.Push(t, reg, "team/app:1", old)
			p := s.puller(nil)
			plan, err := p.Plan(t.Context(), s.request(ref, withEngine(pull.EngineTransfer)))
			if err != nil {
				t.Fatal(err)
			}
			testregistry.Push(t, reg, "team/app:1", small(t, "new", pulltest.Gzip, pulltest.Spec{}))
			_, err = p.Run(t.Context(), plan)
			got := s.image(ref)
			if v == nil && (!errdefs.IsDataLoss(err) || got != nil) {
				t.Errorf("got %v and record %+v, want an error and none", err, got)
			}
			if v != nil && (err != nil || got == nil || got.Target.Digest != old.Desc.Digest) {
				t.Errorf("got %v and record %+v, want the image that was judged", err, got)
			}
		})
	}
}
