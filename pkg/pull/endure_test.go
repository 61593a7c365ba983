package pull_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// daemons are the places with a daemon of one of the versions.
func daemons(versions ...string) []place {
	var all []place
	for _, v := range versions {
		all = append(all, place{name: "containerd " + v, snapshotter: "overlayfs", version: v})
	}
	return all
}

// slowly serves every body at n bytes a second.
func slowly(n int64) testregistry.Behave {
	return func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Rate: n} }
}

// halfway calls do once, in a goroutine of g, when half of a layer has come.
func halfway(g *errgroup.Group, layer pulltest.Layer, do func() error) progress.Sink {
	var once sync.Once
	return func(e progress.Event) {
		if e.Kind == progress.FetchProgress && e.Digest == layer.Digest && e.Bytes.Done >= layer.Size/2 {
			once.Do(func() { g.Go(do) })
		}
	}
}

// both hands each event to all sinks.
func both(sinks ...progress.Sink) progress.Sink {
	return func(e progress.Event) {
		for _, s := range sinks {
			s(e)
		}
	}
}

// warnings collects what a pull warns of.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) sink(e progress.Event) {
	if e.Kind != progress.Warning {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, e.Message)
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.texts, "\n")
}

// TestDaemonRestarts kills the daemon in the middle of a layer and starts it
// again: the pull goes on and does not lose what was fetched.
func TestDaemonRestarts(t *testing.T) {
	img := noisyImage(t, noise)
	for _, engine := range []pull.Engine{pull.EngineAuto, pull.EngineDaemon, pull.EngineTransfer} {
		t.Run(string(engine), func(t *testing.T) {
			versions := testdaemon.Versions()
			if engine != pull.EngineAuto {
				versions = versions[:1]
			}
			each(t, daemons(versions...), func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				ref := testregistry.Push(t, reg, "team/app:1", img)
				reg.SetBehave(slowly(noise / 2)) // the transfer service reports little, and late
				var g errgroup.Group
				var warned warnings
				restart := halfway(&g, img.Layers[1], func() error {
					return errors.Join(s.daemon.Kill(), s.daemon.Start(t.Context()))
				})
				result, err := s.puller(both(restart, warned.sink)).Pull(t.Context(), s.request(ref, func(r *pull.Request) { r.Engine = engine }))
				if err := errors.Join(err, g.Wait()); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(warned.String(), "containerd went away") {
					t.Errorf("got warnings %q, want one about the daemon", &warned)
				}
				if !result.Changed || engine == pull.EngineAuto && result.Fetched < total(img) {
					t.Errorf("got result %+v, want a change and at least %d bytes fetched over both daemons", result, total(img))
				}
				s.usable(t, ref)
				if engine == pull.EngineTransfer {
					return // what its transfer service left is the daemon's to collect
				}
				s.noLitter()
				s.wantChains([]*pulltest.Image{img})
				if got, want := reg.BlobBytes(), total(img)*13/10; got > want {
					t.Errorf("got %d bytes served in total, want at most %d", got, want)
				}
			})
		})
	}
}

// TestDaemonStaysAway ends a pull whose daemon does not come back in time, in
// the class of daemons, and lets the next one go on.
func TestDaemonStaysAway(t *testing.T) {
	img := noisyImage(t, noise)
	each(t, daemons("2.4", "1.7"), func(t *testing.T, s *site) {
		s.patience = 500 * time.Millisecond
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(slowly(2 * noise))
		var g errgroup.Group
		var died time.Time
		kill := halfway(&g, img.Layers[1], func() error {
			died = time.Now()
			return s.daemon.Kill()
		})
		_, err := s.puller(kill).Pull(t.Context(), s.request(ref))
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, store.ErrUnavailable)
		}
		if took := time.Since(died); took > 3*time.Second {
			t.Errorf("got the end %s after the daemon's, want it soon after %s", took, s.patience)
		}
		if err := s.daemon.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.daemon.Ctr(t, "images", "list", "--quiet"); got != "" {
			t.Errorf("got records %s, want none", got)
		}
		s.mustPull(ref) // by the same process: the lease is still its own
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		if got, want := reg.BlobBytes(), total(img)*13/10; got > want {
			t.Errorf("got %d bytes served in total, want at most %d", got, want)
		}
		s.usable(t, ref)
	})
}

// TestCancelWithoutDaemon does not make a user wait who has seen enough.
func TestCancelWithoutDaemon(t *testing.T) {
	img := noisyImage(t, noise)
	each(t, daemons("2.4"), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(slowly(2 * noise))
		ctx, cancel := context.WithCancelCause(t.Context())
		var g errgroup.Group
		var stopped time.Time
		kill := halfway(&g, img.Layers[1], func() error {
			err := s.daemon.Kill()
			time.Sleep(500 * time.Millisecond)
			stopped = time.Now()
			cancel(errStop)
			return err
		})
		_, err := s.puller(kill).Pull(ctx, s.request(ref))
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, errStop) || time.Since(stopped) > 2*time.Second {
			t.Errorf("got %v after %s, want the cause within 2 s", err, time.Since(stopped))
		}
		if err := s.daemon.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustPull(ref)
		s.noLitter()
	})
}

// TestAnotherDaemon lets a daemon that has nothing of the pull answer after the
// one that had half of it.
func TestAnotherDaemon(t *testing.T) {
	img := noisyImage(t, noise)
	first := newSite(t, daemons("2.4")[0])
	second := newSite(t, daemons("1.7")[0])
	socket := filepath.Join(t.TempDir(), "sock")
	link := func(d *testdaemon.Daemon) error {
		return errors.Join(os.RemoveAll(socket), os.Symlink(d.Address, socket))
	}
	if err := link(first.daemon); err != nil {
		t.Fatal(err)
	}
	reg := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, reg, "team/app:1", img)
	reg.SetBehave(slowly(2 * noise))
	s, err := daemon.Dial(t.Context(), store.Options{Address: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Traits().Rebase {
		t.Error("got a daemon 2.4 that cannot rebase")
	}
	var g errgroup.Group
	puller := first.puller(halfway(&g, img.Layers[1], func() error {
		return errors.Join(link(second.daemon), first.daemon.Kill())
	}))
	puller.Store = s
	_, err = puller.Pull(t.Context(), first.request(ref))
	if err := errors.Join(err, g.Wait()); err != nil {
		t.Fatal(err)
	}
	if s.Traits().Rebase {
		t.Error("got a daemon 1.7 that can rebase: it was not asked anew")
	}
	second.noLitter()
	second.wantChains([]*pulltest.Image{img})
	second.usable(t, ref)
	first.close()
}

// TestFolderOfKilledDaemon finds the folder that a daemon made before it was
// killed, under the number that it will give to the next snapshot.
func TestFolderOfKilledDaemon(t *testing.T) {
	img := small(t, "folder", pulltest.Gzip, pulltest.Spec{})
	each(t, daemons(testdaemon.Versions()...), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		left := filepath.Join(s.root, "io.containerd.snapshotter.v1.overlayfs", "snapshots", "1", "fs")
		if err := os.MkdirAll(left, 0o755); err != nil {
			t.Fatal(err)
		}
		s.mustPull(ref)
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
	})
}
