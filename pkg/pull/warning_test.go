package pull_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// TestLayerWarnings: an attribute that a layer may not set is left out, as
// containerd leaves it out, but not silently.
func TestLayerWarnings(t *testing.T) {
	file := pulltest.Regular("etc/motd", "hello")
	file.Xattrs = map[string]string{"trusted.secret": "x"}
	layer := pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"), file)
	img := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{layer}})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/warn:1", img)
		var mu sync.Mutex
		var warnings []string
		sink := func(e progress.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == progress.Warning {
				warnings = append(warnings, e.Message)
			}
		}
		if _, err := s.puller(sink).Pull(t.Context(), s.request(ref)); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(warnings) != 1 || !strings.Contains(warnings[0], "trusted.secret") {
			t.Errorf("got warnings %q, want one about trusted.secret", warnings)
		}
	})
}
