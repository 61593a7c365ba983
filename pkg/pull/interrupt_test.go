package pull_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// noise is the size of the layer that is interrupted.
const noise = 8 << 20

// errStop is why a test interrupts a pull.
var errStop = errors.New("the user has seen enough")

// TestInterrupt cancels a pull in the middle of a layer, and pulls again.
func TestInterrupt(t *testing.T) {
	img := noisyImage(t, noise)
	big := img.Layers[1]
	each(t, places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(onBlob(big.Digest, testregistry.Behaviour{Fault: testregistry.Stall, After: noise / 2}))
		s.interrupt(ref, func(e progress.Event) bool {
			return e.Kind == progress.FetchProgress && e.Digest == big.Digest && e.Bytes.Done >= noise/4
		})
		s.suspended(big.Digest, noise/4)
		if got := s.image(ref); got != nil {
			t.Errorf("got record %+v, want none", got)
		}
		s.collect()
		s.suspended(big.Digest, noise/4)

		reg.SetBehave(nil)
		s.mustPull(ref)
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		if got, want := reg.BlobBytes(), total(img)*13/10; got > want {
			t.Errorf("got %d bytes served in total, want at most %d", got, want)
		}
		s.usable(t, ref)
	})
}

// interrupt starts a pull and cancels it when something happens.
func (s *site) interrupt(ref string, when func(progress.Event) bool) {
	s.t.Helper()
	ctx, cancel := context.WithCancelCause(s.t.Context())
	defer cancel(nil)
	var once sync.Once
	var cancelled time.Time
	puller := s.puller(func(e progress.Event) {
		if when(e) {
			once.Do(func() { cancelled = time.Now(); cancel(errStop) })
		}
	})
	result, err := puller.Pull(ctx, s.request(ref))
	if !errors.Is(err, errStop) {
		s.t.Fatalf("got %+v and %v, want the cause of the cancellation", result, err)
	}
	if took := time.Since(cancelled); took > 2*time.Second {
		s.t.Errorf("got the end %s after the cancellation, want it within 2 s", took)
	}
}

// suspended wants what an interrupted pull leaves: one lease without an owner
// and that expires, and under it the bytes of the layer.
func (s *site) suspended(layer digest.Digest, least int64) {
	s.t.Helper()
	s.noActive()
	all := s.leases()
	if len(all) != 1 {
		s.t.Fatalf("got leases %+v, want one", all)
	}
	l := all[0]
	if l.Labels[store.LabelOwner] != "" {
		s.t.Errorf("got lease of %q, want none", l.Labels[store.LabelOwner])
	}
	expires, err := time.Parse(time.RFC3339, l.Labels["containerd.io/gc.expire"])
	if left := time.Until(expires); err != nil || left < time.Hour || left > 24*time.Hour {
		s.t.Errorf("got lease that expires in %s (%v), want at most a day", left, err)
	}
	for _, in := range s.ingests() {
		if strings.HasSuffix(in.Ref, layer.String()) && in.Offset >= least {
			return
		}
	}
	s.t.Errorf("got ingests %+v, want at least %d bytes of %s", s.ingests(), least, layer)
}

// TestInterruptBeforeTheFirstByte leaves nothing at all.
func TestInterruptBeforeTheFirstByte(t *testing.T) {
	img := small(t, "early", pulltest.Gzip, pulltest.Spec{})
	inLayers := func(r *http.Request) testregistry.Behaviour {
		for _, l := range img.Layers {
			if strings.HasSuffix(r.URL.Path, l.Digest.String()) {
				return testregistry.Behaviour{Fault: testregistry.Stall}
			}
		}
		return testregistry.Behaviour{}
	}
	inManifest := func(r *http.Request) testregistry.Behaviour {
		if strings.Contains(r.URL.Path, "/manifests/") {
			return testregistry.Behaviour{Fault: testregistry.Stall}
		}
		return testregistry.Behaviour{}
	}
	for name, behave := range map[string]testregistry.Behave{"layers": inLayers, "manifest": inManifest} {
		t.Run(name, func(t *testing.T) {
			each(t, twoPlaces(), func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				ref := testregistry.Push(t, reg, "team/app:1", img)
				reg.SetBehave(behave)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(300*time.Millisecond, func() { cancel(errStop) })
				if _, err := s.puller(nil).Pull(ctx, s.request(ref)); !errors.Is(err, errStop) {
					t.Errorf("got %v, want the cause of the cancellation", err)
				}
				s.noLitter()
				s.empty()
			})
		})
	}
}

// childEnv holds what a process of its own is to pull.
const childEnv = "CONTAINERD_PULL_TEST_CHILD"

// child is a pull in another process.
type child struct {
	Options  store.Options
	Ref      string
	Declines bool
}

// TestMain makes this binary a puller when it was started as one.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		code := m.Run()
		if err := os.RemoveAll(built.dir); err != nil { // nothing if it was not built
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	if err := pullAsChild(context.Background(), os.Getenv(childEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// declining is the applier of a daemon's store whose diff service has no differ
// that fits.
type declining struct{}

func (declining) Apply(context.Context, ocispec.Descriptor, []mount.Mount, ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, fmt.Errorf("%w: %w", store.ErrNoApplier, errdefs.ErrNotImplemented)
}

func pullAsChild(ctx context.Context, job string) error {
	var c child
	if err := json.Unmarshal([]byte(job), &c); err != nil {
		return err
	}
	open := daemon.Dial
	if c.Options.Root != "" {
		open = root.Open
	}
	s, err := open(ctx, c.Options)
	if err != nil {
		return err
	}
	if c.Declines {
		s.Applier = declining{}
	}
	ref, refErr := source.ParseRef(c.Ref)
	reg, regErr := registry.New(registry.Options{Hosts: hosts.Options{PlainHTTP: true}})
	if err := errors.Join(refErr, regErr); err != nil {
		return err
	}
	result, err := (&pull.Puller{Store: s, Source: reg}).Pull(ctx, pull.Request{Ref: ref})
	if err == nil {
		_, err = fmt.Printf("%s: %s\n", result.Engine, result.EngineReason)
	}
	return errors.Join(err, s.Close())
}

// start starts a process that pulls ref.
func (s *site) start(ref string) *exec.Cmd {
	s.t.Helper()
	cmd := s.child(ref)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() }) // both fail where it has ended
	return cmd
}

// child is a process that is to pull ref and to print the engine; prefix is a
// command that runs it.
func (s *site) child(ref string, prefix ...string) *exec.Cmd {
	s.t.Helper()
	s.close()
	o := store.Options{Snapshotter: s.snapshotter, Root: s.root}
	if s.daemon != nil {
		o.Root, o.Address = "", s.daemon.Address
	}
	job, err := json.Marshal(child{o, ref, s.declines})
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	args := append(prefix, got)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+string(job), "GORACE=atexit_sleep_ms=0") // not a second for others to report
	return cmd
}

// TestKill kills a pull at several points; the next process goes on.
func TestKill(t *testing.T) {
	img := noisyImage(t, noise)
	for _, after := range []int64{noise / 10, noise / 2, noise * 9 / 10} {
		t.Run(fmt.Sprintf("after %d bytes", after), func(t *testing.T) {
			each(t, twoPlaces(), func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				ref := testregistry.Push(t, reg, "team/app:1", img)
				reg.SetBehave(onBlob(img.Layers[1].Digest, testregistry.Behaviour{Fault: testregistry.Stall, After: after}))
				cmd := s.start(ref)
				const collected = 1 << 20 // by the process, before it is sent on
				s.waitFor(func() bool { return s.onDisk() >= after-collected && reg.BlobBytes() >= after })
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				cmd.Wait() // says that it was killed
				if all := s.leases(); len(all) > 1 || s.daemon != nil && len(all) == 0 {
					t.Errorf("got leases %+v, want the one of the process", all)
				}
				if s.daemon != nil { // an embedded root is only collected when it is asked to
					s.collect()
				}
				reg.SetBehave(nil)
				if err := s.start(ref).Wait(); err != nil {
					t.Errorf("got %v from the next process, want success", err)
				}
				s.noLitter()
				s.wantChains([]*pulltest.Image{img})
				if got, want := reg.BlobBytes(), total(img)*13/10; got > want {
					t.Errorf("got %d bytes served in total, want at most %d", got, want)
				}
				if in := s.ingests(); len(in) > 0 {
					t.Errorf("got ingests %+v, want none", in)
				}
				s.usable(t, ref)
			})
		})
	}
}

// onDisk is the size of all ingests, even if another process has the store open.
func (s *site) onDisk() int64 {
	s.t.Helper()
	var sum int64
	names, err := filepath.Glob(filepath.Join(s.root, "io.containerd.content.v1.content", "ingest", "*", "data"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range names {
		if info, err := os.Stat(path); err == nil { // it may have been committed
			sum += info.Size()
		}
	}
	return sum
}

// waitFor waits until something has happened.
func (s *site) waitFor(happened func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("got nothing within a minute")
		}
	}
}

// TestConcurrentPulls pulls one image by several pullers at the same time, over
// one store, and wants each blob to be fetched once.
func TestConcurrentPulls(t *testing.T) {
	img := noisyImage(t, noise)
	each(t, places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Rate: noise} })
		var g errgroup.Group
		for range 3 {
			puller := s.puller(nil)
			g.Go(func() error {
				_, err := puller.Pull(t.Context(), s.request(ref))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		for dgst, n := range reg.BlobGets() {
			if dgst != img.Config.Digest && n != 1 {
				t.Errorf("got %d requests for layer %s, want 1", n, dgst)
			}
		}
		s.usable(t, ref)
	})
}

// TestConcurrentProcesses pulls one image by two processes of this client and, where
// there is a daemon, by ctr.
func TestConcurrentProcesses(t *testing.T) {
	img := noisyImage(t, noise)
	each(t, places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Rate: noise} })
		first, second := s.start(ref), s.start(ref)
		if s.daemon != nil {
			s.daemon.Ctr(t, "images", "pull", "--plain-http", ref)
		}
		if err := errors.Join(first.Wait(), second.Wait()); err != nil {
			t.Errorf("got %v, want success of both", err)
		}
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		if s.daemon == nil && reg.BlobBytes() != total(img) {
			t.Errorf("got %d bytes served, want %d: each blob once", reg.BlobBytes(), total(img))
		}
		s.usable(t, ref)
	})
}
