package pull_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// TestTwoProcesses pulls one image by two processes: each layer comes
// once.
func TestTwoProcesses(t *testing.T) {
	img := manyLayers(t)
	each(t, append(daemons("2.4", "1.7"), twoPlaces()[0]), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{Behave: slowly(killRate)})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		first, second := s.start(ref), s.start(ref)
		if err := errors.Join(first.Wait(), second.Wait()); err != nil {
			t.Fatalf("got %v, want success of both", err)
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

// TestTakeOver kills the first of two pulls in the middle of the layer that the
// second waits for.
func TestTakeOver(t *testing.T) {
	img := noisyImage(t, noise)
	each(t, append(daemons("2.4", "1.7"), twoPlaces()[0]), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(onBlob(img.Layers[1].Digest, testregistry.Behaviour{Fault: testregistry.Stall, After: noise / 2}))
		first := s.start(ref)
		const collected = 1 << 20
		s.waitFor(func() bool { return s.onDisk() >= noise/2-collected && reg.BlobBytes() >= noise/2 })
		second := s.start(ref)
		time.Sleep(500 * time.Millisecond) // it waits now, for the ingest or for the root
		reg.SetBehave(nil)
		if err := first.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		first.Wait() // says that it was killed
		if err := second.Wait(); err != nil {
			t.Fatalf("got %v, want success of the second", err)
		}
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		if got, want := reg.BlobBytes(), total(img)*13/10; got > want {
			t.Errorf("got %d bytes served in total, want at most %d", got, want)
		}
		s.usable(t, ref)
	})
}

// pullAsCRI pulls as the kubelet's way through containerd's client does.
func pullAsCRI(ctx context.Context, address, snapshotter, ref string) error {
	client, err := containerd.New(address, containerd.WithDefaultNamespace("default"))
	if err != nil {
		return err
	}
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchAllHosts)),
	})
	_, err = client.Pull(ctx, ref, containerd.WithPullUnpack, containerd.WithPullSnapshotter(snapshotter), containerd.WithResolver(resolver))
	return errors.Join(err, client.Close())
}

// TestBesideOthers pulls one image by this client, by ctr and through containerd's
// client, all at the same time.
func TestBesideOthers(t *testing.T) {
	img := manyLayers(t)
	each(t, daemons(testdaemon.Versions()...), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{Behave: slowly(2 * killRate)})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		client := s.start(ref)
		var g errgroup.Group
		g.Go(func() error {
			_, err := s.daemon.RunCtr(t.Context(), "images", "pull", "--plain-http", ref)
			return err
		})
		g.Go(func() error { return pullAsCRI(t.Context(), s.daemon.Address, s.snapshotter, ref) })
		g.Go(client.Wait)
		if err := g.Wait(); err != nil {
			t.Fatalf("got %v, want success of all", err)
		}
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		s.usable(t, ref)
	})
}

// storm collects garbage all the time, as `ctr content prune references` does,
// until the returned function is called.
func storm(t *testing.T, d *testdaemon.Daemon) (stop func() error) {
	t.Helper()
	s, err := daemon.Dial(t.Context(), store.Options{Address: d.Address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context(t.Context()))
	var g errgroup.Group
	collections := 0
	g.Go(func() error {
		for ; ctx.Err() == nil; collections++ {
			l, err := s.Leases.Create(ctx, leases.WithRandomID())
			if err == nil {
				err = s.Leases.Delete(ctx, l, leases.SynchronousDelete)
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	return func() error {
		cancel()
		err := g.Wait()
		t.Logf("%d garbage collections", collections)
		return errors.Join(err, s.Close())
	}
}

// TestGarbageStorm pulls several images that share layers while the daemon does
// nothing but collect garbage.
func TestGarbageStorm(t *testing.T) {
	base := manyLayers(t)
	var all []*pulltest.Image
	for i := range 3 {
		top := pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("top", fmt.Sprint(i)))
		layers := append(append([]pulltest.Layer(nil), base.Layers[:len(base.Layers)-i]...), top)
		all = append(all, pulltest.NewImage(pulltest.Spec{Layers: layers}))
	}
	each(t, daemons(testdaemon.Versions()...), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{Behave: slowly(2 * killRate)})
		stop := storm(t, s.daemon)
		var g errgroup.Group
		var refs []string
		for i, img := range all {
			ref := testregistry.Push(t, reg, fmt.Sprintf("team/app%d:1", i), img)
			refs = append(refs, ref)
			g.Go(s.start(ref).Wait)
		}
		if err := errors.Join(g.Wait(), stop()); err != nil {
			t.Fatal(err)
		}
		s.noLitter()
		s.wantChains(all)
		for i, ref := range refs {
			s.usable(t, ref)
			s.wantTree(all[i])
		}
	})
}

// wantTree compares the tree of an image with that of an undisturbed pull.
func (s *site) wantTree(img *pulltest.Image) {
	s.t.Helper()
	other := newSite(s.t, places()[0])
	reg := testregistry.Start(s.t, testregistry.Options{})
	began := time.Now().Add(-time.Hour)
	other.mustPull(testregistry.Push(s.t, reg, "team/app:1", img))
	top := img.ChainIDs()[len(img.Layers)-1].String()
	got, want := withoutTimesOf(began, s.tree(top)), withoutTimesOf(began, other.tree(top))
	if diff := tree.Diff(got, want); diff != "" {
		s.t.Errorf("trees differ: %s", diff)
	}
}

// TestRemovalMeanwhile removes the image whose layers a pull finds in the
// store, and collects, at all moments of that pull.
func TestRemovalMeanwhile(t *testing.T) {
	img := small(t, "removed", pulltest.Gzip, pulltest.Spec{})
	each(t, daemons(testdaemon.Versions()...), func(t *testing.T, s *site) {
		random := dice(t)
		reg := testregistry.Start(t, testregistry.Options{})
		old, ref := testregistry.Push(t, reg, "team/old:1", img), testregistry.Push(t, reg, "team/new:1", img)
		for range 20 {
			s.mustPull(old)
			var g errgroup.Group
			g.Go(func() error {
				time.Sleep(upTo(random, 30*time.Millisecond))
				return s.store().Images.Delete(s.ctx(), old, images.SynchronousDelete())
			})
			_, err := s.pull(ref)
			if err := errors.Join(err, g.Wait()); err != nil {
				t.Fatal(err)
			}
			s.noLitter()
			s.collect()
			s.honest(ref, img)
			s.wantChains([]*pulltest.Image{img})
			if t.Failed() {
				return
			}
			if err := s.store().Images.Delete(s.ctx(), ref, images.SynchronousDelete()); err != nil {
				t.Fatal(err)
			}
		}
		s.empty()
	})
}

// TestRemovedByForce removes blobs and snapshots that a pull has just made,
// against all leases: the pull makes them again.
func TestRemovedByForce(t *testing.T) {
	img := noisyImage(t, noise)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(onBlob(img.Layers[1].Digest, testregistry.Behaviour{Rate: noise}))
		first := img.Layers[0]
		var g errgroup.Group
		var warned warnings
		remove := halfway(&g, img.Layers[1], func() error {
			blob := s.store().Content.Delete(s.ctx(), first.Digest)
			snapshot := s.store().Snapshotter.Remove(s.ctx(), img.ChainIDs()[0].String())
			if errdefs.IsFailedPrecondition(snapshot) { // something is on top of it
				snapshot = nil
			}
			return errors.Join(blob, snapshot)
		})
		_, err := s.puller(both(remove, warned.sink)).Pull(t.Context(), s.request(ref))
		if err := errors.Join(err, g.Wait()); err != nil {
			t.Fatal(err)
		}
		s.noLitter()
		s.honest(ref, img)
		s.wantChains([]*pulltest.Image{img})
		if !strings.Contains(warned.String(), "removed") {
			t.Errorf("got warnings %q, want what was removed", &warned)
		}
	})
}

// TestLookDuringCollections: what looks into a snapshot while a daemon collects
// leaves nothing at it that would keep it from being removed.
func TestLookDuringCollections(t *testing.T) {
	each(t, places()[2:], func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", small(t, "app", pulltest.Gzip, pulltest.Spec{}))
		top := s.mustPull(ref).Platforms[0].ChainID.String()
		ctx, stop := context.WithCancel(s.ctx())
		defer stop()
		var g errgroup.Group
		g.Go(func() error {
			for ctx.Err() == nil {
				if err := s.store().Collect(ctx, store.GarbageNow); err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
		for range 40 {
			if _, err := s.store().Lowers(ctx, top); err != nil {
				t.Error(err)
			}
		}
		stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if err := s.store().Snapshotter.Remove(s.ctx(), top); err != nil {
			t.Errorf("got %v, want the snapshot removed", err)
		}
	})
}
