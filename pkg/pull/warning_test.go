package pull_test

import (
	"slices"
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
		var warnings warningList
		if _, err := s.puller(warnings.add).Pull(t.Context(), s.request(ref)); err != nil {
			t.Fatal(err)
		}
		if got := warnings.list(); len(got) != 1 || !strings.Contains(got[0], "trusted.secret") {
			t.Errorf("got warnings %q, want one about trusted.secret", got)
		}
	})
}

// warningList collects the warnings of a pull.
type warningList struct {
	mu  sync.Mutex
	all []string
}

// add is a progress.Sink.
func (l *warningList) add(e progress.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == progress.Warning {
		l.all = append(l.all, e.Message)
	}
}

func (l *warningList) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}
