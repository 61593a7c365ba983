package batch_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// push stores one more image, which shares no layer with the others.
func (s *site) push(name string) string {
	s.t.Helper()
	return testregistry.Push(s.t, s.reg, name, pulltest.SmallVariant(pulltest.Spec{}, pulltest.Gzip, name))
}

// gate is passed once it is open, or after so long that the test fails by it.
type gate struct {
	t    *testing.T
	once sync.Once
	way  chan struct{}
}

func newGate(t *testing.T) *gate { return &gate{t: t, way: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.way) }) }

func (g *gate) pass(what string) {
	select {
	case <-g.way:
	case <-time.After(30 * time.Second):
		g.t.Errorf("%s waits for what should come before it", what)
	}
}

// TestResolvedFirst: a tag that does not exist is told while the image before it
// gets no byte of a blob, and the images pull all the same.
func TestResolvedFirst(t *testing.T) {
	s := newSite(t)
	told := newGate(t)
	s.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
		if testregistry.Blobs(r) {
			told.pass(r.URL.Path)
		}
		return testregistry.Behaviour{}
	})
	c := newCall(s.job(s.ref, "a"), s.job(s.push("team/second:1"), "a"), s.job(s.reg.Host()+"/team/app:none", "a"))
	c.OnError = func(error) { told.open() }
	outcomes, err := c.Run(t.Context())
	partial, ok := errors.AsType[*batch.PartialError](err)
	if !ok || *partial != (batch.PartialError{Failed: 1, Of: 3}) {
		t.Fatalf("got error %v, want that 1 of 3 failed", err)
	}
	for i, failed := range []bool{false, false, true} {
		if o := outcomes[i]; (o.Err != nil) != failed || o.Typed != c.Jobs[i].Typed || o.Namespace != "default" {
			t.Errorf("outcome %d: got %s in %q, error %v", i, o.Typed, o.Namespace, o.Err)
		}
	}
}

// TestResolvedAtOnce: no tag is answered before all are asked for.
func TestResolvedAtOnce(t *testing.T) {
	s := newSite(t)
	var jobs []batch.Job
	for _, name := range []string{"team/a:1", "team/b:1", "team/c:1", "team/d:1", "team/e:1"} {
		jobs = append(jobs, s.job(s.push(name), "a"))
	}
	all := newGate(t)
	var mu sync.Mutex
	asked := map[string]bool{}
	s.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
		if strings.HasSuffix(r.URL.Path, "/manifests/1") {
			mu.Lock()
			if asked[r.URL.Path] = true; len(asked) == len(jobs) {
				all.open()
			}
			mu.Unlock()
			all.pass(r.URL.Path)
		}
		return testregistry.Behaviour{}
	})
	if _, err := newCall(jobs...).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestFailFast fetches nothing if a reference cannot be resolved, whichever it is.
func TestFailFast(t *testing.T) {
	s := newSite(t)
	other := s.push("team/other:1")
	for i := range 3 {
		refs := []string{s.ref, other}
		refs = append(refs[:min(i, 2)], append([]string{s.reg.Host() + "/team/app:none"}, refs[min(i, 2):]...)...)
		var jobs []batch.Job
		for _, ref := range refs {
			jobs = append(jobs, s.job(ref, "a"))
		}
		c := newCall(jobs...)
		c.FailFast = true
		outcomes, err := c.Run(t.Context())
		if !errors.As(err, new(*batch.PartialError)) || len(c.told) != 1 || len(outcomes) != 3 {
			t.Fatalf("got error %v, failures %v and %d outcomes, want one failure told of three", err, c.told, len(outcomes))
		}
		for k, o := range outcomes {
			if !errdefs.IsNotFound(o.Err) || strings.Contains(o.Err.Error(), "not tried") == (k == i) {
				t.Errorf("outcome %d of a failure of %d: got %v", k, i, o.Err)
			}
		}
	}
	for _, e := range s.reg.Requests() { // of blobs only the configs were needed
		if e.Kind() == "blobs" && e.Bytes > 2000 {
			t.Errorf("got a request for %s", e.Path)
		}
	}
}

// TestSeveralStores: one store is open at a time, and each job gets its own.
func TestSeveralStores(t *testing.T) {
	s := newSite(t)
	c := newCall(s.job(s.ref, "a"), s.job(s.push("team/b:1"), "b"), s.job(s.push("team/c:1"), "a"), s.job(s.reg.Host()+"/team/c:none", "b"))
	outcomes, err := c.Run(t.Context())
	if !errors.As(err, new(*batch.PartialError)) {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if failed := i == 3; (o.Err != nil) != failed || o.Namespace != "default" {
			t.Errorf("outcome %d: got error %v in namespace %q", i, o.Err, o.Namespace)
		}
	}
	again := newCall(c.Jobs[:3]...)
	outcomes, err = again.Run(t.Context())
	for i, o := range outcomes {
		if err != nil || o.Result.Changed {
			t.Errorf("outcome %d of the same again: got %+v, error %v", i, o.Result, err)
		}
	}
}

// TestWholeFirst: an image that is there is done while another is being resolved.
func TestWholeFirst(t *testing.T) {
	s := newSite(t)
	there := s.job(s.push("team/there:1"), "a")
	if _, err := newCall(there).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	there.Config.Request.Policy = pull.PolicyMissing
	done := newGate(t)
	s.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
		done.pass(r.URL.Path)
		return testregistry.Behaviour{}
	})
	c := newCall(s.job(s.ref, "a"), there)
	sink := c.Parts.Progress
	c.Parts.Progress = func(e progress.Event) {
		if e.Kind == progress.Registered && e.Ref == there.Ref.Name {
			done.open()
		}
		sink(e)
	}
	if _, err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestSameNameInTurn: what is to be done for a name depends on what the job before
// registered, and the last one wins.
func TestSameNameInTurn(t *testing.T) {
	s := newSite(t)
	img := pulltest.SmallVariant(pulltest.Spec{}, pulltest.Gzip, "old")
	if err := s.reg.Push("team/app:old", img); err != nil {
		t.Fatal(err)
	}
	pinned := s.ref + "@" + img.Desc.Digest.String()
	outcomes, err := newCall(s.job(s.ref, "a"), s.job(pinned, "a")).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, second := outcomes[0].Result, outcomes[1].Result
	if second.Previous != first.Target.Digest || second.Target.Digest != img.Desc.Digest || !second.Changed {
		t.Errorf("got %s after %s, want %s after %s", second.Target.Digest, second.Previous, img.Desc.Digest, first.Target.Digest)
	}
}
