package pull_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

func withEngine(e pull.Engine) func(*pull.Request) {
	return func(r *pull.Request) { r.Engine = e }
}

// TestEngines pulls by each engine on each daemon; each leaves the
// same, and says who it was.
func TestEngines(t *testing.T) {
	daemons := []place{places()[0]}
	for _, version := range testdaemon.Versions() {
		daemons = append(daemons, place{name: "containerd " + version, snapshotter: "overlayfs", version: version})
	}
	for _, engine := range []pull.Engine{pull.EngineAuto, pull.EngineClient, pull.EngineDaemon, pull.EngineTransfer} {
		t.Run(string(engine), func(t *testing.T) {
			each(t, daemons, func(t *testing.T, s *site) {
				img := small(t, "engine", pulltest.Gzip, pulltest.Spec{})
				ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/engine:1", img)
				result, err := s.pull(ref, withEngine(engine))
				if engine == pull.EngineTransfer && !strings.HasPrefix(s.version, "2.") {
					if !errdefs.IsFailedPrecondition(err) || s.image(ref) != nil {
						t.Errorf("got error %v, want that there is no transfer service, and no record", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := engine
				if engine == pull.EngineAuto || s.version == "" {
					want = pull.EngineClient
				}
				if s.version == "" && engine == pull.EngineDaemon {
					want = pull.EngineDaemon // in this process; the command refuses it
				}
				if result.Engine != want || result.EngineReason == "" {
					t.Errorf("got engine %q because %q, want %s with a reason", result.Engine, result.EngineReason, want)
				}
				s.checkSnapshots(t, img)
				s.noLitter()
				s.usable(t, ref)
			})
		})
	}
}

// TestSyncNeedsAnEngineThatCan: a daemon before 2.0 would not notice the flag.
func TestSyncNeedsAnEngineThatCan(t *testing.T) {
	for version, ok := range map[string]bool{"1.7": false, "2.4": true} {
		t.Run(version, func(t *testing.T) {
			s := newSite(t, place{name: version, snapshotter: "overlayfs", version: version})
			ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/sync:1", small(t, "sync", pulltest.Gzip, pulltest.Spec{}))
			_, err := s.pull(ref, withEngine(pull.EngineDaemon), func(r *pull.Request) { r.SyncFS = true })
			if (err == nil) != ok || err != nil && !errdefs.IsFailedPrecondition(err) {
				t.Errorf("got %v, want none: %v", err, ok)
			}
			if _, err := s.pull(ref, withEngine(pull.EngineClient), func(r *pull.Request) { r.SyncFS = true }); err != nil {
				t.Errorf("got %v from engine client", err)
			}
			s.noLitter()
		})
	}
}
