package batch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// noisy is a layer of so many bytes that do not compress, and the same each time.
func noisy(name string, size int) pulltest.Layer {
	seed := [32]byte{}
	copy(seed[:], name)
	noise := make([]byte, size)
	rand.NewChaCha8(seed).Read(noise) // never fails
	return pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"), pulltest.Regular("etc/"+name, string(noise)))
}

// relatives are so many images that share layers as those of a team do: two bases, a
// runtime on each that is the same blob on another snapshot, some applications that
// begin alike, and every fifth a second tag of the image before.
func relatives(n int) (all []*pulltest.Image) {
	bases := []pulltest.Layer{noisy("base0", 90<<10), noisy("base1", 60<<10)}
	runtime := noisy("runtime", 40<<10)
	for i := range n {
		if i%5 == 4 {
			all = append(all, all[i-1])
			continue
		}
		layers := []pulltest.Layer{bases[i%2], runtime, noisy(fmt.Sprint("team", i%4), 20<<10), noisy(fmt.Sprint("app", i), 2<<10)}
		all = append(all, pulltest.NewImage(pulltest.Spec{Layers: layers, Env: []string{fmt.Sprint("N=", i)}}))
	}
	return all
}

// team is a registry with relatives, and a store of a kind.
type team struct {
	t      *testing.T
	reg    *testregistry.Registry
	images []*pulltest.Image
	jobs   []batch.Job
	o      store.Options
	see    func() *store.Store // opens the store to look
}

func newTeam(t *testing.T, p teststore.Place, images ...*pulltest.Image) *team {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	s := &site{t: t, reg: testregistry.Start(t, testregistry.Options{}), dir: t.TempDir()}
	tm := &team{t: t, reg: s.reg, images: images}
	if p.Version == "" {
		tm.o = store.Options{Root: filepath.Join(s.dir, "root"), Snapshotter: p.Snapshotter}
		tm.see = func() *store.Store { return teststore.Open(t, tm.o) }
	} else {
		st, _, d := p.Open(t)
		tm.o = store.Options{Address: d.Address, Snapshotter: p.Snapshotter}
		tm.see = func() *store.Store { return st }
	}
	for i, img := range images {
		j := s.job(testregistry.Push(t, s.reg, fmt.Sprintf("team/app:%d", i), img), "a")
		j.Config.Store = tm.o
		j.Config.Request.Unpack = pull.UnpackAuto
		tm.jobs = append(tm.jobs, j)
	}
	return tm
}

// contents are what a store has: snapshots with their parents and labels, blobs with
// their labels, and images with their targets.
func (tm *team) contents() map[string]string {
	tm.t.Helper()
	st := tm.see()
	ctx := st.Context(tm.t.Context())
	all := map[string]string{}
	for name, info := range teststore.Snapshots(ctx, tm.t, st) {
		all["snapshot "+name] = fmt.Sprint(info.Kind, info.Parent, info.Labels)
	}
	err := st.Content.Walk(ctx, func(info content.Info) error {
		all["blob "+info.Digest.String()] = strings.ReplaceAll(fmt.Sprint(info.Size, info.Labels), tm.reg.Host(), "REGISTRY")
		return nil
	})
	images, listed := st.Images.List(ctx)
	if err != nil || listed != nil {
		tm.t.Fatal(err, listed)
	}
	for _, img := range images {
		all["image "+strings.ReplaceAll(img.Name, tm.reg.Host(), "REGISTRY")] = fmt.Sprint(img.Target.Digest, img.Labels)
	}
	if left := teststore.Leases(tm.t, st); len(left) > 0 {
		tm.t.Errorf("got leases %v, want none", left)
	}
	return all
}

// wantOnce wants every blob to have been asked for once, and counted with one image.
func (tm *team) wantOnce(outcomes []batch.Outcome) {
	tm.t.Helper()
	by, fetched := map[digest.Digest]int{}, int64(0)
	for i, o := range outcomes {
		if o.Err != nil {
			tm.t.Fatalf("image %d: %v", i, o.Err)
		}
		fetched += o.Result.Fetched
		for dgst := range o.Observed.Fetched {
			by[dgst]++
		}
	}
	served := int64(0)
	for _, r := range tm.reg.Requests() {
		if r.Method == http.MethodGet {
			served += r.Bytes
		}
	}
	for dgst, n := range tm.reg.BlobGets() {
		if n != 1 || by[dgst] != 1 {
			tm.t.Errorf("got %d requests for %s, which %d images say to have fetched, want one", n, dgst, by[dgst])
		}
	}
	if fetched != served {
		tm.t.Errorf("got %d bytes fetched, want the %d that were served", fetched, served)
	}
}

// TestTogether pulls 20 images that share layers, and wants each blob once and what
// one pull after the other leaves.
func TestTogether(t *testing.T) {
	for _, p := range teststore.TwoPlaces() {
		t.Run(p.Title, func(t *testing.T) {
			together := newTeam(t, p, relatives(20)...)
			outcomes, err := newCall(together.jobs...).Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			together.wantOnce(outcomes)
			for i, o := range outcomes {
				if o.Ref != together.jobs[i].Ref {
					t.Errorf("got %s in place %d, want the order of the jobs", o.Ref, i)
				}
			}
			alone := newTeam(t, p, together.images...)
			for _, j := range alone.jobs {
				if _, err := newCall(j).Run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(alone.contents(), together.contents()); diff != "" {
				t.Errorf("contents differ (-one after the other +together):\n%s", diff)
			}
		})
	}
}

// asked reports whether r is for one of the blobs.
func asked(r *http.Request, blobs ...digest.Digest) bool {
	return slices.ContainsFunc(blobs, func(dgst digest.Digest) bool { return strings.HasSuffix(r.URL.Path, dgst.String()) })
}

// firstFailsAlone runs a call for two images, and wants the first to fail for lack of a
// blob, and the second not to.
func (tm *team) firstFailsAlone(c *call) *store.Store {
	tm.t.Helper()
	outcomes, err := c.Run(tm.t.Context())
	if !errors.As(err, new(*batch.PartialError)) || !errdefs.IsNotFound(outcomes[0].Err) || outcomes[1].Err != nil {
		tm.t.Fatalf("got %v and outcomes %v, %v, want the first to fail alone", err, outcomes[0].Err, outcomes[1].Err)
	}
	return tm.see()
}

// TestTakenOver: an image waits for a snapshot that another makes, which fails for a
// reason of its own, and makes it then.
func TestTakenOver(t *testing.T) {
	for _, p := range append(teststore.TwoPlaces(), teststore.Places()[1]) {
		t.Run(p.Title, func(t *testing.T) {
			base, missing, top := noisy("base", 300<<10), noisy("missing", 1<<10), noisy("top", 1<<10)
			failing := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{base, missing}})
			waiting := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{base, top}})
			tm := newTeam(t, p, failing, waiting)
			begun, fetched, failed := newGate(t), newGate(t), newGate(t)
			tm.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
				switch {
				case strings.HasSuffix(r.URL.Path, "/manifests/1"):
					begun.pass(r.URL.Path)
				case asked(r, missing.Digest):
					fetched.pass(r.URL.Path)
					return testregistry.Behaviour{Status: http.StatusNotFound}
				case asked(r, base.Digest):
					begun.open()
					select {
					case <-failed.way:
					case <-r.Context().Done():
					}
				}
				return testregistry.Behaviour{}
			})
			c := newCall(tm.jobs...)
			c.OnError = func(error) { failed.open() }
			sink := c.Parts.Progress
			c.Parts.Progress = func(e progress.Event) {
				if e.Kind == progress.FetchDone && e.Digest == top.Digest {
					fetched.open()
				}
				sink(e)
			}
			st := tm.firstFailsAlone(c)
			snapshots := teststore.Snapshots(st.Context(t.Context()), t, st)
			for _, id := range waiting.ChainIDs() {
				if _, ok := snapshots[id.String()]; !ok {
					t.Errorf("got snapshots %v, want %s", snapshots, id)
				}
			}
			if len(snapshots) != 2 || len(teststore.Leases(t, st)) > 0 {
				t.Errorf("got snapshots %v and leases %v, want those of the second image and none", snapshots, teststore.Leases(t, st))
			}
		})
	}
}

// TestTakenOverInTheMiddle: an image all of whose snapshots another makes relies on the
// first of them, and makes the next when the other fails.
func TestTakenOverInTheMiddle(t *testing.T) {
	for _, p := range append(teststore.TwoPlaces(), teststore.Places()[1]) {
		t.Run(p.Title, func(t *testing.T) {
			base, middle, missing := noisy("base", 100<<10), noisy("middle", 100<<10), noisy("missing", 1<<10)
			failing := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{base, middle, missing}})
			waiting := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{base, middle}})
			tm := newTeam(t, p, failing, waiting)
			begun, taken, failed := newGate(t), newGate(t), newGate(t)
			tm.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
				switch {
				case strings.HasSuffix(r.URL.Path, "/manifests/1"):
					begun.pass(r.URL.Path)
				case asked(r, missing.Digest):
					begun.open()
					taken.pass(r.URL.Path)
					return testregistry.Behaviour{Status: http.StatusNotFound}
				case asked(r, middle.Digest):
					select {
					case <-failed.way:
					case <-r.Context().Done():
					}
				}
				return testregistry.Behaviour{}
			})
			c := newCall(tm.jobs...)
			c.OnError = func(error) { failed.open() }
			sink := c.Parts.Progress
			c.Parts.Progress = func(e progress.Event) {
				if e.Kind == progress.Present && e.Digest == base.Digest && e.Ref == tm.jobs[1].Ref.Name {
					taken.open()
				}
				sink(e)
			}
			st := tm.firstFailsAlone(c)
			if snapshots := teststore.Snapshots(st.Context(t.Context()), t, st); len(snapshots) != 2 || len(teststore.Leases(t, st)) > 0 {
				t.Errorf("got snapshots %v and leases %v, want those of the second image and none", snapshots, teststore.Leases(t, st))
			}
		})
	}
}

// TestSharedFailure: a blob that is not served fails all images that have it, is asked
// for as often as for one, and no other image is disturbed.
func TestSharedFailure(t *testing.T) {
	for _, p := range teststore.TwoPlaces() {
		t.Run(p.Title, func(t *testing.T) {
			base, missing := noisy("base", 100<<10), noisy("missing", 1<<10)
			var images []*pulltest.Image
			for i := range 8 {
				layers := []pulltest.Layer{base, noisy(fmt.Sprint("own", i), 1<<10)}
				if i%2 == 0 {
					layers = append(layers, missing)
				}
				images = append(images, pulltest.NewImage(pulltest.Spec{Layers: layers}))
			}
			tm := newTeam(t, p, images...)
			tm.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
				if asked(r, missing.Digest) {
					return testregistry.Behaviour{Status: http.StatusNotFound}
				}
				return testregistry.Behaviour{}
			})
			c := newCall(tm.jobs...)
			outcomes, err := c.Run(t.Context())
			partial, ok := errors.AsType[*batch.PartialError](err)
			if !ok || *partial != (batch.PartialError{Failed: 4, Of: 8}) || len(c.told) != 4 {
				t.Fatalf("got error %v and failures %v, want that 4 of 8 failed", err, c.told)
			}
			for i, o := range outcomes {
				if failed := i%2 == 0; failed != errdefs.IsNotFound(o.Err) || !failed && o.Err != nil {
					t.Errorf("outcome %d: got %v", i, o.Err)
				}
			}
			gets := tm.reg.BlobGets()
			if gets[missing.Digest] != 1 || gets[base.Digest] != 1 {
				t.Errorf("got %d requests for what is missing and %d for what is shared, want one each", gets[missing.Digest], gets[base.Digest])
			}
			if got := len(teststore.Leases(t, tm.see())); got != 0 {
				t.Errorf("got %d leases, want none", got)
			}
		})
	}
}

// TestFailFastInTheMiddle ends what is at work at the first failure, and keeps what
// came for the next call.
func TestFailFastInTheMiddle(t *testing.T) {
	p := teststore.TwoPlaces()[0]
	missing, slow := noisy("missing", 1<<10), noisy("slow", 300<<10)
	tm := newTeam(t, p, pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{slow}}), pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{missing}}))
	begun := newGate(t)
	tm.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
		switch {
		case asked(r, slow.Digest):
			begun.open()
			return testregistry.Behaviour{Fault: testregistry.Stall, After: slow.Size / 2}
		case asked(r, missing.Digest):
			begun.pass(r.URL.Path)
			return testregistry.Behaviour{Status: http.StatusNotFound}
		}
		return testregistry.Behaviour{}
	})
	c := newCall(tm.jobs...)
	c.FailFast = true
	outcomes, err := c.Run(t.Context())
	if !errors.As(err, new(*batch.PartialError)) || len(c.told) != 1 {
		t.Fatalf("got error %v and failures %v, want one failure told", err, c.told)
	}
	if got := outcomes[0].Err; !errdefs.IsNotFound(got) || !strings.Contains(got.Error(), "not tried") {
		t.Errorf("got %v for the other image, want that it ended for the failure", got)
	}
	tm.reg.SetBehave(nil)
	if _, err := newCall(tm.jobs[0]).Run(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
