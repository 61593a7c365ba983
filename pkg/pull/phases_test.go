package pull_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// phases collects which phases were reported of the image (key "") and of each
// blob.
type phases struct {
	mu   sync.Mutex
	seen map[digest.Digest]map[progress.Phase]bool
}

func (p *phases) sink(e progress.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind != progress.PhaseDone {
		return
	}
	if p.seen[e.Digest] == nil {
		p.seen[e.Digest] = map[progress.Phase]bool{}
	}
	p.seen[e.Digest][e.Phase] = true
}

// TestPhases: whichever engine unpacks, the time of each layer is accounted for.
func TestPhases(t *testing.T) {
	all := []progress.Phase{progress.Wait, progress.Fetch, progress.Apply, progress.Commit}
	for engine, want := range map[pull.Engine][]progress.Phase{
		pull.EngineClient: append(all, progress.Inflate),
		pull.EngineDaemon: all,
	} {
		t.Run(string(engine), func(t *testing.T) {
			each(t, []place{{name: "2.4", snapshotter: "overlayfs", version: "2.4"}, {name: "1.7", snapshotter: "overlayfs", version: "1.7"}}, func(t *testing.T, s *site) {
				img := small(t, "phases", pulltest.Gzip, pulltest.Spec{})
				ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/phases:1", img)
				p := &phases{seen: map[digest.Digest]map[progress.Phase]bool{}}
				if _, err := s.puller(p.sink).Pull(t.Context(), s.request(ref, withEngine(engine))); err != nil {
					t.Fatal(err)
				}
				wanted := map[digest.Digest]map[progress.Phase]bool{"": {progress.Resolve: true, progress.Commit: true}}
				for _, l := range img.Layers {
					wanted[l.Blob.Digest] = map[progress.Phase]bool{}
					for _, phase := range want {
						wanted[l.Blob.Digest][phase] = true
					}
				}
				if diff := cmp.Diff(wanted, p.seen); diff != "" {
					t.Errorf("phases differ (-want +got):\n%s", diff)
				}
			})
		})
	}
}
