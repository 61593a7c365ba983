package pull_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// gc runs the collection of the store and wants its dry run to have foretold it.
func (s *site) gc() store.Freed {
	s.t.Helper()
	before := s.steady()
	foretold, err := s.store().GC(s.t.Context(), true)
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(before, s.numbers()); diff != "" {
		s.t.Errorf("numbers of blobs, snapshots, leases and ingests changed by the dry run (-want +got):\n%s", diff)
	}
	freed, err := s.store().GC(s.t.Context(), false)
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(foretold, freed); diff != "" {
		s.t.Errorf("what was freed differs from what the dry run said (-dry +freed):\n%s", diff)
	}
	return freed
}

// numbers counts the blobs, snapshots, leases and ingests.
func (s *site) numbers() [4]int {
	return [4]int{len(s.blobs()), len(s.snapshots()), len(s.leases()), len(s.ingests())}
}

// steady waits for numbers that stay: a daemon finishes what a process asked it
// for before it was killed.
func (s *site) steady() [4]int {
	last, since := s.numbers(), time.Now()
	s.waitFor(func() bool {
		if now := s.numbers(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second/2
	})
	return last
}

// stalled starts a process that pulls img and gets after bytes of its noise.
func (s *site) stalled(reg *testregistry.Registry, ref string, img *pulltest.Image, after int64) *exec.Cmd {
	s.t.Helper()
	reg.SetBehave(onBlob(img.Layers[1].Digest, testregistry.Behaviour{Fault: testregistry.Stall, After: after}))
	cmd := s.start(ref)
	const collected = 1 << 20 // by the process, before it is sent on
	s.waitFor(func() bool { return s.onDisk() >= after-collected && reg.BlobBytes() >= after })
	return cmd
}

// foreign makes a lease as another client would, with an ingest and a blob
// under it.
func (s *site) foreign() digest.Digest {
	s.t.Helper()
	lease, err := s.store().Leases.Create(s.ctx(), leases.WithID("another-client"))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := leases.WithLease(s.ctx(), lease.ID)
	blob := pulltest.NewBlob([]byte("another client's blob"))
	w, err := content.OpenWriter(ctx, s.store().Content, content.WithRef("blob"), content.WithDescriptor(ocispec.Descriptor{Digest: blob.Digest, Size: blob.Size}))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := w.Write([]byte("another client's blob")); err != nil {
		s.t.Fatal(err)
	}
	if err := w.Commit(ctx, blob.Size, blob.Digest); err != nil {
		s.t.Fatal(err)
	}
	w, err = content.OpenWriter(ctx, s.store().Content, content.WithRef("another client's ingest"))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		s.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return blob.Digest
}

// TestGCAfterKill frees everything that a killed pull left, and nothing else.
func TestGCAfterKill(t *testing.T) {
	img, other := noisyImage(t, noise), small(t, "kept", pulltest.Gzip, pulltest.Spec{})
	each(t, places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		kept := testregistry.Push(t, reg, "team/kept:1", other)
		s.mustPull(kept)
		blob := s.foreign()
		blobs, snapshots := s.blobs(), s.snapshots()
		cmd := s.stalled(reg, testregistry.Push(t, reg, "team/app:1", img), img, noise/2)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // says that it was killed

		freed := s.gc()
		if freed.Running != 0 || s.daemon != nil && len(freed.Leases) != 1 {
			t.Errorf("got %+v, want the one lease of the dead process and none left", freed)
		}
		if freed.Ingests.Count == 0 || freed.Ingests.Bytes < noise/4 {
			t.Errorf("got ingests %+v freed, want at least %d bytes", freed.Ingests, noise/4)
		}
		s.noLitter()
		if diff := cmp.Diff(blobs, s.blobs()); diff != "" {
			t.Errorf("blobs differ from those before the killed pull (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(snapshots, s.snapshots()); diff != "" {
			t.Errorf("snapshots differ from those before the killed pull (-before +after):\n%s", diff)
		}
		if in := s.ingests(); len(in) != 1 || in[0].Ref != "another client's ingest" {
			t.Errorf("got ingests %+v, want the foreign one", in)
		}
		dirs, err := filepath.Glob(filepath.Join(s.root, "io.containerd.content.v1.content", "ingest", "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(dirs) != 1 {
			t.Errorf("got ingests on disk %v, want the foreign one", dirs)
		}
		if _, ok := s.blobs()[blob]; !ok {
			t.Error("the blob under a foreign lease is gone")
		}
		if again := s.gc(); len(again.Leases)+again.Ingests.Count+again.Blobs.Count+again.Snapshots.Count != 0 {
			t.Errorf("got %+v from the second collection, want nothing to be left", again)
		}
		s.usable(t, kept)
	})
}

// TestGCBesideAPull leaves a pull alone that runs in another process.
func TestGCBesideAPull(t *testing.T) {
	img := noisyImage(t, noise)
	each(t, twoPlaces()[1:], func(t *testing.T, s *site) { // an embedded root cannot be opened twice
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(onBlob(img.Layers[1].Digest, testregistry.Behaviour{Rate: noise / 5}))
		cmd := s.start(ref)
		s.waitFor(func() bool { return s.onDisk() >= noise/8 })
		freed := s.gc()
		if diff := cmp.Diff(store.Freed{Running: 1}, freed); diff != "" {
			t.Errorf("got something freed of a pull that runs (-want +got):\n%s", diff)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("got %v from the pull beside the collection, want success", err)
		}
		if got, want := reg.BlobBytes(), total(img)*13/10; got > want {
			t.Errorf("got %d bytes served in total, want at most %d", got, want)
		}
		s.noLitter()
		s.usable(t, ref)
	})
}

// TestGCOfWhatWasKept lets go of the bytes that an interrupted pull kept.
func TestGCOfWhatWasKept(t *testing.T) {
	img := noisyImage(t, noise)
	big := img.Layers[1]
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		reg.SetBehave(onBlob(big.Digest, testregistry.Behaviour{Fault: testregistry.Stall, After: noise / 2}))
		s.interrupt(ref, func(e progress.Event) bool {
			return e.Kind == progress.FetchProgress && e.Digest == big.Digest && e.Bytes.Done >= noise/4
		})
		s.suspended(big.Digest, noise/4)
		freed := s.gc()
		if len(freed.Leases) != 1 || freed.Ingests.Bytes < noise/4 {
			t.Errorf("got %+v, want one lease and at least %d bytes of an ingest", freed, noise/4)
		}
		s.noLitter()
		s.empty()
	})
}
