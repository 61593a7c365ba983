package pull_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
)

// control is how long another client may take.
const control = 8 * time.Second

// peer is another client that pulls the same.
type peer struct {
	name string
	pull func(ctx context.Context, c *scene) (string, error)
}

func peers() []peer {
	return []peer{
		{"ctr images pull", func(ctx context.Context, c *scene) (string, error) {
			return c.daemon.RunCtr(ctx, "--namespace", c.namespace, "images", "pull", "--plain-http", c.ref)
		}},
		{"nerdctl pull", func(ctx context.Context, c *scene) (string, error) {
			return c.daemon.RunNerdctl(ctx, "--namespace", c.namespace, "pull", "--quiet", c.ref)
		}},
	}
}

// matrix are the faults that clients are compared by. All go away: a pull that
// holds out succeeds.
func matrix() []fault {
	layers := func(c *scene) testregistry.Match {
		return func(r *http.Request) bool {
			return slices.ContainsFunc(c.img.Layers, func(l pulltest.Layer) bool { return testregistry.Object(l.Digest)(r) })
		}
	}
	times := func(n int, b testregistry.Behaviour) func(*scene) {
		return func(c *scene) { c.reg.SetBehave(testregistry.Times(n, layers(c), b)) }
	}
	cut := testregistry.Behaviour{Fault: testregistry.Truncate, After: bulk / 10}
	return []fault{
		{name: "no fault", strike: nothing},
		{name: "1 cut in a layer", strike: inOrder(cut)},
		{name: "8 cuts in a layer", strike: inOrder(slices.Repeat([]testregistry.Behaviour{cut}, 8)...)},
		{name: "1 cut, Range ignored", strike: inOrder(cut, testregistry.Behaviour{IgnoreRange: true})},
		{name: "1 reset in a layer", strike: inOrder(testregistry.Behaviour{Fault: testregistry.Reset, After: bulk / 10})},
		{name: "8 × 429, Retry-After: 1, on layers", strike: times(8, testregistry.Behaviour{
			Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}},
		})},
		{name: "8 × 500 on layers", strike: times(8, testregistry.Behaviour{Status: http.StatusInternalServerError})},
		{name: "3 × 503 on any request", strike: func(c *scene) {
			c.reg.SetBehave(testregistry.Times(3, testregistry.Everything, testregistry.Behaviour{Status: http.StatusServiceUnavailable}))
		}},
		{name: "connection refused for a second", strike: func(c *scene) {
			outage((*testregistry.Registry).Stop)(c)
			time.AfterFunc(time.Second, func() { c.restart <- c.reg.Start() })
		}, check: func(c *scene) {
			if err := <-c.restart; err != nil {
				c.t.Error(err)
			}
		}},
		{name: "1 stall in a layer", strike: inOrder(testregistry.Behaviour{Fault: testregistry.Stall, After: bulk / 10})},
	}
}

// defaults are those of the command, but for a stall, for which no test should
// wait half a minute.
func defaults(c *scene) {
	c.options.Retry = registry.Retry{}
	c.options.StallTimeout = time.Second
}

// TestMatrix holds out where other clients give up, and logs the table that
// docs/reliability.md has.
func TestMatrix(t *testing.T) {
	pulltest.Need(t, pulltest.Tools(pulltest.Nerdctl))
	all := stage(t)
	var mu sync.Mutex
	results := map[string]map[string]string{} // by fault and client
	note := func(fault, client string, start time.Time, err error) {
		mu.Lock()
		defer mu.Unlock()
		text := fmt.Sprintf("ok, %.1f s", time.Since(start).Seconds())
		if err != nil {
			text = "fails" + strings.TrimPrefix(text, "ok")
		}
		if results[fault] == nil {
			results[fault] = map[string]string{}
		}
		results[fault][client] = text
	}
	t.Run("places", func(t *testing.T) {
		for _, f := range matrix() {
			f.tune = defaults
			for _, p := range all {
				t.Run(f.name+"/"+p.name, func(t *testing.T) {
					t.Parallel()
					start := time.Now()
					f.play(t, newSite(t, p))
					note(f.name, p.name, start, nil)
				})
			}
			for _, other := range peers() {
				t.Run(f.name+"/"+other.name, func(t *testing.T) {
					t.Parallel()
					c := f.scene(t, newSite(t, all[1]))
					f.strike(c)
					start := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), control)
					defer cancel()
					_, err := other.pull(ctx, c)
					note(f.name, other.name, start, err)
					if f.name == "no fault" && err != nil {
						t.Errorf("got %v without a fault, want success", err)
					}
					if f.check != nil { // what was begun must end
						f.check(c)
					}
				})
			}
		}
	})
	t.Log("\n" + table(all, results))
}

// table is that of docs/reliability.md.
func table(all []place, results map[string]map[string]string) string {
	columns := map[string]string{all[1].name: "containerd-pull, daemon", all[0].name: "containerd-pull, --root"}
	order := []string{all[1].name, all[0].name}
	for _, other := range peers() {
		order = append(order, other.name)
	}
	var b strings.Builder
	b.WriteString("| fault |")
	for _, client := range order {
		fmt.Fprintf(&b, " %s |", cmp.Or(columns[client], client))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(order)) + "\n")
	for _, f := range matrix() {
		fmt.Fprintf(&b, "| %s |", f.name)
		for _, client := range order {
			fmt.Fprintf(&b, " %s |", results[f.name][client])
		}
		b.WriteString("\n")
	}
	return b.String()
}
