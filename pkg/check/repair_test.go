package check_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

func small(t testing.TB, seed string) *pulltest.Image {
	t.Helper()
	return pulltest.SmallVariant(pulltest.Spec{}, pulltest.Gzip, seed)
}

// refusals lists why findings were not mended.
func refusals(r check.Report) (all []string) {
	for _, f := range r.Findings {
		all = append(all, f.Unrepaired)
	}
	return all
}

// TestRepairFollowsNoTag brings back the image of the record after its tag has
// moved on.
func TestRepairFollowsNoTag(t *testing.T) {
	img, newer := small(t, "old"), small(t, "new")
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.pull(ref)
		testregistry.Push(t, reg, "team/app:1", newer)
		must(t, s.Content.Delete(s.ctx(), img.Desc.Digest))
		spoil(t, s.blob(img.Layers[0].Digest), flip)
		if report := s.repair(true, ref)[0]; !report.Whole() || len(report.Repaired) < 2 {
			t.Errorf("got %+v, want the manifest and the layer repaired", report)
		}
		if got := s.images(ref)[0].Target.Digest; got != img.Desc.Digest {
			t.Errorf("got record of %s, want still %s", got, img.Desc.Digest)
		}
		s.whole(true, ref)
		s.ready(ref)
	})
}

// TestRepairLabelsAsPull wants documents that were fetched anew to have the
// labels that a pull gave them: those of an index with a referrer, and of a
// manifest.
func TestRepairLabelsAsPull(t *testing.T) {
	img, about := small(t, "labels"), small(t, "referrer")
	about.Desc.Platform = nil
	about.Desc.Annotations = map[string]string{images.AnnotationManifestSubject: img.Desc.Digest.String()}
	index := pulltest.NewIndex(img, about)
	each(t, teststore.Places()[:1], func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", index)
		s.pull(ref)
		for _, dgst := range []digest.Digest{index.Desc.Digest, img.Desc.Digest} {
			info, err := s.Content.Info(s.ctx(), dgst)
			if err != nil {
				t.Fatal(err)
			}
			want := info.Labels
			must(t, s.Content.Delete(s.ctx(), dgst))
			s.repair(false, ref)
			labelled, err := s.Content.Info(s.ctx(), dgst)
			if err != nil {
				t.Fatal(err)
			}
			got := labelled.Labels
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("labels of %s differ (-pull +repair):\n%s", dgst, diff)
			}
		}
	})
}

// TestRepairWithoutRegistry mends what takes no registry, and deletes nothing
// that it could not bring back.
func TestRepairWithoutRegistry(t *testing.T) {
	img := small(t, "alone")
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.pull(ref)
		must(t, reg.Stop())
		must(t, s.Snapshotter.Remove(s.ctx(), img.ChainIDs()[2].String()))
		unlabelled(layer(1), named("containerd.io/uncompressed"), "sha256:none")(s, img, img)
		if report := s.repair(false, ref)[0]; !report.Whole() || len(report.Repaired) < 2 { // a collection may have taken the snapshots below
			t.Errorf("got %+v, want the snapshot and the label repaired", report)
		}
		s.ready(ref)
		spoil(t, s.blob(img.Layers[0].Digest), flip)
		report := s.repair(false, ref)[0]
		if len(report.Findings) != 1 || !strings.Contains(report.Findings[0].Unrepaired, "connect") {
			t.Errorf("got %+v, want one finding and why no registry could be asked", report)
		}
		if _, err := os.Stat(s.blob(img.Layers[0].Digest)); err != nil {
			t.Errorf("got %v, want the corrupt blob still there", err)
		}
		s.ready(ref)
	})
}

// TestRepairOfSharedSnapshots remakes snapshots that several images count on
// only together.
func TestRepairOfSharedSnapshots(t *testing.T) {
	base := small(t, "shared")
	more := pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("app", "more"))
	child := pulltest.NewImage(pulltest.Spec{Layers: append(base.Layers[:2:2], more)})
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		first, second := testregistry.Push(t, reg, "team/base:1", base), testregistry.Push(t, reg, "team/child:1", child)
		s.pull(first)
		s.pull(second)
		must(t, os.Remove(s.folder(base, 1)+"/usr/bin/su"))
		before := s.snapshots()
		report := s.repair(true, first)[0]
		if all := refusals(report); len(all) != 1 || !strings.Contains(all[0], "another image") {
			t.Errorf("got refusals %q, want one because of another image", all)
		}
		if diff := cmp.Diff(before, s.snapshots()); diff != "" {
			t.Errorf("snapshots changed (-before +after):\n%s", diff)
		}
		for _, report := range s.repair(true, first, second) {
			if !report.Whole() || len(report.Repaired) == 0 {
				t.Errorf("got %+v, want both repaired", report)
			}
		}
		s.whole(true, first)
		s.whole(true, second)
		s.ready(first)
		s.ready(second)
	})
}

// TestRepairUnderContainer leaves alone what a container runs on.
func TestRepairUnderContainer(t *testing.T) {
	img := small(t, "running")
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.pull(ref)
		must(t, os.Chmod(s.folder(img, 0)+"/etc", 0o700))
		root := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "container"})
		if _, err := s.Snapshotter.Prepare(s.ctx(), "container", img.ChainIDs()[2].String(), root); err != nil {
			t.Fatal(err)
		}
		before := s.snapshots()
		reports, err := s.checker(true).Repair(t.Context(), s.images(ref))
		if err != nil {
			t.Fatal(err)
		}
		report := reports[0]
		if all := refusals(report); len(all) != 1 || !strings.Contains(all[0], "snapshot container is in use") {
			t.Errorf("got refusals %q, want one because of the container", all)
		}
		if diff := cmp.Diff(before, s.snapshots()); diff != "" {
			t.Errorf("snapshots changed (-before +after):\n%s", diff)
		}
		must(t, s.Snapshotter.Remove(s.ctx(), "container"))
		if report := s.repair(true, ref)[0]; !report.Whole() {
			t.Errorf("got %+v after the container has gone, want it repaired", report)
		}
	})
}

// TestRepairOfDiscarded fetches layers that were discarded when their snapshots
// are gone.
func TestRepairOfDiscarded(t *testing.T) {
	img := small(t, "discarded")
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.pull(ref, func(r *pull.Request) { r.DiscardLayers = true })
		must(t, s.Collect(s.ctx(), store.GarbageNow))
		report := s.check(true, ref)
		if !report.Whole() || len(report.Notes) != len(img.Layers) || report.Compared != 0 {
			t.Errorf("got %+v, want it whole and a note for each layer that cannot be compared", report)
		}
		must(t, s.Snapshotter.Remove(s.ctx(), img.ChainIDs()[2].String()))
		report = s.repair(false, ref)[0]
		if !report.Whole() || len(report.Repaired) == 0 {
			t.Errorf("got %+v, want it repaired", report)
		}
		if have := s.snapshots(); len(have) != len(img.Layers) {
			t.Errorf("got snapshots %v after the repair, want those of %d layers", have, len(img.Layers))
		}
	})
}

// TestCancel ends a check and a repair in the middle, and leaves nothing.
func TestCancel(t *testing.T) {
	img := small(t, "cancelled")
	why := errors.New("the user has seen enough")
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.pull(ref)
		imgs := s.images(ref)
		must(t, os.Remove(s.folder(img, 1)+"/usr/bin/su"))
		spoil(t, s.blob(img.Config.Digest), flip)
		ctx, cancel := context.WithCancelCause(t.Context())
		c := s.checker(true)
		c.Source = func(ref source.Ref) (source.Source, error) {
			cancel(why)
			return newRegistry(ref)
		}
		if _, err := c.Repair(ctx, imgs); !errors.Is(err, why) {
			t.Errorf("got %v from the repair, want the cause of its end", err)
		}
		if _, err := c.Check(ctx, imgs); !errors.Is(err, why) {
			t.Errorf("got %v from the check, want the cause of its end", err)
		}
		s.noLitter()
		if report := s.repair(true, ref)[0]; !report.Whole() {
			t.Errorf("got %+v from another repair, want it whole", report)
		}
		s.ready(ref)
	})
}

// TestForeignPulls finds nothing wrong with what containerd's own client and
// its transfer service pulled and unpacked.
func TestForeignPulls(t *testing.T) {
	img := pulltest.MultiPlatform(pulltest.Gzip)
	each(t, teststore.Places()[2:], func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ways := [][]string{{}}
		if s.place.Version != "1.6" {
			ways = append(ways, []string{"--local"})
		}
		for i, flags := range ways {
			seed := string(rune('a' + i))
			ref := testregistry.Push(t, reg, "team/"+seed+":1", variant(t, img, seed))
			s.daemon.Ctr(t, append(append([]string{"images", "pull", "--plain-http"}, flags...), ref)...)
			report := s.check(true, ref)
			if !report.Whole() || report.Compared != 3 {
				t.Errorf("got %+v from ctr images pull %v, want it whole", report, flags)
			}
		}
	})
}

// TestRepairKeepsTheReserve: a repair fills no file system further than a pull does.
func TestRepairKeepsTheReserve(t *testing.T) {
	img := small(t, "reserve")
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		s.pull(ref)
		for name, hurt := range map[string]func(){
			"blob":     func() { spoil(t, s.blob(img.Layers[2].Digest), flip) },
			"snapshot": func() { must(t, s.Snapshotter.Remove(s.ctx(), img.ChainIDs()[2].String())) },
		} {
			hurt()
			c := s.checker(false)
			c.Reserve = store.Reserve{Percent: 100}
			if _, err := c.Repair(t.Context(), s.images(ref)); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "to stay free") {
				t.Errorf("%s: got %v, want the error of a disk without room beside the reserve", name, err)
			}
			must(t, s.Collect(s.ctx(), store.GarbageNow)) // an ingest may be left that no lease holds
			s.noLitter()
			if report := s.repair(false, ref)[0]; !report.Whole() {
				t.Errorf("%s: got %+v without a reserve, want it repaired", name, report)
			}
		}
	})
}

// TestRepairKeepsTheBounds: what a layer may become is bounded as in a pull.
func TestRepairKeepsTheBounds(t *testing.T) {
	img := small(t, "bounds")
	s := newShelf(t)
	s.put(img)
	s.unpack(img)
	record := s.register(img.Desc)
	must(t, s.Snapshotter.Remove(s.ctx(), img.ChainIDs()[2].String()))
	c := check.Checker{Store: s.Store, Bounds: unpack.Bounds{Bytes: 1}}
	reports, err := c.Repair(t.Context(), []images.Image{record})
	must(t, err)
	if all := refusals(reports[0]); !strings.Contains(strings.Join(all, " "), "limits.unpacked_bytes allows 1 bytes") {
		t.Errorf("got refusals %q, want one because of the bound", all)
	}
}

// preparing notes on top of what snapshots are prepared.
type preparing struct {
	snapshots.Snapshotter
	parents []string
}

// Prepare implements snapshots.Snapshotter.
func (p *preparing) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	p.parents = append(p.parents, parent)
	return p.Snapshotter.Prepare(ctx, key, parent, opts...)
}

// TestNativeIsComparedInOnePlace: the layers are applied one after the other in one
// folder, and what is below a layer is not copied again and again.
func TestNativeIsComparedInOnePlace(t *testing.T) {
	img := small(t, "one place")
	each(t, teststore.Places()[1:2], func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		s.pull(ref)
		seen := &preparing{Snapshotter: s.Snapshotter}
		s.Snapshotter = seen
		if report := s.whole(true, ref); report.Compared != len(img.Layers) {
			t.Errorf("got %+v, want %d layers compared", report, len(img.Layers))
		}
		if diff := cmp.Diff([]string{""}, seen.parents); diff != "" {
			t.Errorf("the parents of what was prepared differ (-want +got):\n%s", diff)
		}
	})
}
