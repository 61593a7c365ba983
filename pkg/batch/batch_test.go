package batch_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// site is a registry with one image, and a folder for stores.
type site struct {
	t   *testing.T
	reg *testregistry.Registry
	ref string
	dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	img := pulltest.SmallImage(pulltest.Gzip)
	s := &site{t: t, reg: testregistry.Start(t, testregistry.Options{}), dir: t.TempDir()}
	s.ref = testregistry.Push(t, s.reg, "team/app:1", img)
	return s
}

// job pulls ref into a root of that name, of a profile of the same name.
func (s *site) job(ref, root string) batch.Job {
	s.t.Helper()
	parsed, err := source.ParseRef(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	return batch.Job{Ref: parsed, Typed: ref, Config: &config.Config{
		Profile: root,
		Store:   store.Options{Root: filepath.Join(s.dir, root), Snapshotter: "native"},
		Request: pull.Request{Unpack: pull.UnpackNever},
	}}
}

// call is a batch with what it told while it ran.
type call struct {
	batch.Batch
	mu     sync.Mutex
	events []progress.Event
	told   []error
}

func newCall(jobs ...batch.Job) *call {
	c := &call{}
	c.Jobs = jobs
	c.Parts = &batch.Parts{
		Caller: config.Caller{Lookup: func(string) (string, bool) { return "", false }},
		Progress: func(e progress.Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.events = append(c.events, e)
		},
	}
	c.OnError = func(err error) { c.told = append(c.told, err) }
	return c
}

// wantCounts compares the last event, which is the summary.
func (c *call) wantCounts(t *testing.T, want progress.Counts) {
	t.Helper()
	if got := c.events[len(c.events)-1].Counts; got != want {
		t.Errorf("summary: got %+v, want %+v", got, want)
	}
}

// TestFailuresAreOutcomes pulls two images and one that does not exist.
func TestFailuresAreOutcomes(t *testing.T) {
	s := newSite(t)
	missing := s.job(s.reg.Host()+"/team/app:none", "a")
	c := newCall(s.job(s.ref, "a"), missing, s.job(s.ref, "b"))
	c.Warnings = []string{"mind the gap"}
	outcomes, err := c.Run(t.Context())

	partial, ok := errors.AsType[*batch.PartialError](err)
	if !ok || *partial != (batch.PartialError{Failed: 1, Of: 3}) {
		t.Errorf("got error %v, want that 1 of 3 failed", err)
	}
	if len(c.told) != 1 || !errdefs.IsNotFound(c.told[0]) {
		t.Errorf("got failures %v, want one of a missing tag", c.told)
	}
	if len(outcomes) != 3 {
		t.Fatalf("got %d outcomes, want 3", len(outcomes))
	}
	for i, failed := range []bool{false, true, false} {
		o := outcomes[i]
		if (o.Err != nil) != failed || (o.Result == nil) != failed {
			t.Errorf("outcome %d: got result %v and error %v, want a failure: %v", i, o.Result, o.Err, failed)
		}
		if o.Typed != c.Jobs[i].Typed || o.Namespace != "default" || o.Snapshotter != "native" {
			t.Errorf("outcome %d: got %s in namespace %q with %q", i, o.Typed, o.Namespace, o.Snapshotter)
		}
	}
	seen := outcomes[0].Observed
	if seen.Target.Digest != outcomes[0].Result.Target.Digest || seen.Host != s.reg.Host() || len(seen.Fetched) < 3 || len(seen.Unpacked) != 0 {
		t.Errorf("got %+v, want what was fetched of the image, and nothing unpacked", seen)
	}

	var kinds []progress.Kind
	for _, e := range c.events {
		if slices.Contains([]progress.Kind{progress.Start, progress.Warning, progress.Error, progress.Registered, progress.Summary}, e.Kind) {
			kinds = append(kinds, e.Kind)
		}
	}
	want := []progress.Kind{progress.Start, progress.Warning, progress.Error, progress.Registered, progress.Registered, progress.Summary}
	slices.SortFunc(kinds[2:5], func(a, b progress.Kind) int { return strings.Compare(string(a), string(b)) }) // the failure may come after the first image
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	c.wantCounts(t, progress.Counts{Images: 3, Failed: 1})
}

// TestOnlyJob: its failure is that of the batch.
func TestOnlyJob(t *testing.T) {
	s := newSite(t)
	c := newCall(s.job(s.reg.Host()+"/team/app:none", "a"))
	outcomes, err := c.Run(t.Context())
	if !errdefs.IsNotFound(err) || len(outcomes) != 1 || !errors.Is(err, outcomes[0].Err) {
		t.Errorf("got error %v and outcomes %v, want the same failure", err, outcomes)
	}
}

// TestNoStore: a first job whose store cannot be opened ends the batch, and the
// others have its failure.
func TestNoStore(t *testing.T) {
	s := newSite(t)
	first := s.job(s.ref, "a")
	first.Config.Store = store.Options{Address: filepath.Join(s.dir, "none.sock")}
	c := newCall(first, s.job(s.ref, "b"))
	outcomes, err := c.Run(t.Context())
	if !errors.Is(err, store.ErrUnavailable) || len(c.told) != 1 {
		t.Errorf("got error %v and failures %v, want one of a daemon that is not there", err, c.told)
	}
	for i, o := range outcomes {
		if !errors.Is(o.Err, store.ErrUnavailable) || o.Namespace != "" {
			t.Errorf("outcome %d: got %v in namespace %q", i, o.Err, o.Namespace)
		}
	}
	if len(outcomes) != 2 || len(s.reg.Requests()) > 0 {
		t.Errorf("got %d outcomes and requests %v, want 2 and none", len(outcomes), s.reg.Requests())
	}
	c.wantCounts(t, progress.Counts{Images: 2, Failed: 2})
}

// TestEndOfContext leaves the rest untried.
func TestEndOfContext(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := newCall(s.job(s.ref, "a"), s.job(s.ref, "b"))
	cancel()
	outcomes, err := c.Run(ctx)
	if !errors.Is(err, context.Canceled) || len(outcomes) != 2 || len(c.told) != 1 {
		t.Errorf("got error %v, %d outcomes and failures %v, want the cancellation once for both", err, len(outcomes), c.told)
	}
	c.wantCounts(t, progress.Counts{Images: 2, Failed: 2})
}

// TestConfigError: what cannot be followed is told apart from what failed.
func TestConfigError(t *testing.T) {
	s := newSite(t)
	j := s.job(s.ref, "a")
	j.Config.Verify.Mode = "nonsense"
	_, err := newCall(j).Run(t.Context())
	if _, ok := errors.AsType[*batch.ConfigError](err); !ok {
		t.Errorf("got error %v, want one of the configuration", err)
	}
}
