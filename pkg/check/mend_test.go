package check_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// TestRepairFetchesWhatIsDamaged asks the source for what is missing or corrupt,
// once each, and for nothing else.
func TestRepairFetchesWhatIsDamaged(t *testing.T) {
	img := small(t, "fetches")
	index := pulltest.NewIndex(img)
	s := newShelf(t)
	s.put(index)
	s.unpack(img)
	record := s.register(index.Desc)
	if report := s.check(record); !report.Whole() || report.Snapshots != len(img.Layers) {
		t.Fatalf("got %+v before the damage, want it whole", report)
	}
	spoil(t, s.file(img.Config.Digest), flip)
	must(t, s.Content.Delete(s.ctx(), img.Desc.Digest))
	spoil(t, s.file(img.Layers[0].Digest), flip)
	from := serve(t, index)
	report := s.repair(record, from)
	if !report.Whole() || len(report.Repaired) < 3 {
		t.Errorf("got %+v, want manifest, config and layer repaired", report)
	}
	want := []digest.Digest{img.Desc.Digest, img.Config.Digest, img.Layers[0].Digest}
	slices.Sort(want)
	slices.Sort(from.served)
	if diff := cmp.Diff(want, from.served); diff != "" {
		t.Errorf("what was asked for differs (-want +got):\n%s", diff)
	}
}

// TestRepairWithoutItsSource says of each finding why it is still there, and
// deletes nothing.
func TestRepairWithoutItsSource(t *testing.T) {
	img := small(t, "nowhere")
	s := newShelf(t)
	s.put(img)
	record := s.register(img.Desc)
	spoil(t, s.file(img.Layers[0].Digest), flip)
	report := s.repair(record, nil)
	if all := refusals(report); len(all) != 1 || !strings.Contains(all[0], "no registry") {
		t.Errorf("got refusals %q, want one because there is no registry", all)
	}
	if _, err := s.Content.Info(s.ctx(), img.Layers[0].Digest); err != nil {
		t.Errorf("got %v, want the corrupt blob still there", err)
	}
	record.Name = "no reference"
	if err := s.Register(s.ctx(), record); err != nil {
		t.Fatal(err)
	}
	if all := refusals(s.repair(record, serve(t, img))); len(all) != 1 || !strings.Contains(all[0], "does not say which registry") {
		t.Errorf("got refusals %q, want one because of the name", all)
	}
}

// TestRepairOfLabels sets the labels that containerd would, without a source.
func TestRepairOfLabels(t *testing.T) {
	img := small(t, "labels")
	index := pulltest.NewIndex(img)
	for name, tt := range map[string]struct {
		dgst digest.Digest
		key  string
		want string
	}{
		"manifest of an index": {index.Desc.Digest, "containerd.io/gc.ref.content.m.0", img.Desc.Digest.String()},
		"config":               {img.Desc.Digest, image.LabelConfig, img.Config.Digest.String()},
		"layer":                {img.Desc.Digest, "containerd.io/gc.ref.content.l.1", img.Layers[1].Digest.String()},
		"snapshot":             {img.Config.Digest, image.LabelSnapshot + "native", img.ChainIDs()[2].String()},
		"diff ID":              {img.Layers[1].Digest, labels.LabelUncompressed, img.DiffIDs()[1].String()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			s.put(index)
			s.unpack(img)
			record := s.register(index.Desc)
			wrong := ""
			if tt.key == labels.LabelUncompressed { // none at all would be no damage
				wrong = digest.FromString("another").String()
			}
			s.label(tt.dgst, map[string]string{tt.key: wrong})
			if report := s.check(record); len(report.Findings) != 1 || report.Findings[0].Kind != check.Label || report.Findings[0].Digest != tt.dgst {
				t.Errorf("got %+v, want one label of %s", report.Findings, tt.dgst)
			}
			if report := s.repair(record, nil); !report.Whole() || len(report.Repaired) != 1 {
				t.Errorf("got %+v, want one label repaired", report)
			}
			info, err := s.Content.Info(s.ctx(), tt.dgst)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Labels[tt.key]; got != tt.want {
				t.Errorf("got label %s=%q, want %q", tt.key, got, tt.want)
			}
		})
	}
}

// TestN37LayersFetchedAgain: an image whose layers were discarded, and fetched
// again by a client that does not label them with diff IDs, is whole.
func TestN37LayersFetchedAgain(t *testing.T) {
	img := small(t, "again")
	s := newShelf(t)
	s.put(img)
	s.unpack(img)
	record := s.register(img.Desc)
	for _, l := range img.Layers {
		s.label(l.Digest, map[string]string{labels.LabelUncompressed: ""})
	}
	if report := s.check(record); !report.Whole() || report.Blobs != 2+len(img.Layers) {
		t.Errorf("got %+v, want an image that is whole with all its blobs", report)
	}
}

// TestDiffIDIsProved: a label is not believed to be wrong before the layer has
// been unpacked.
func TestDiffIDIsProved(t *testing.T) {
	good := small(t, "proof")
	lying := pulltest.NewImage(pulltest.Spec{
		Layers:     good.Layers,
		EditConfig: func(c *ocispec.Image) { c.RootFS.DiffIDs[1] = digest.FromString("another") },
	})
	s := newShelf(t)
	s.put(good)
	s.unpack(good) // labels the layers
	s.put(lying)
	report := s.repair(s.register(lying.Desc), nil)
	want := "has diff ID " + good.DiffIDs()[1].String()
	if all := refusals(report); len(all) != 1 || !strings.Contains(all[0], want) {
		t.Errorf("got refusals %q, want one that says %q", all, want)
	}
	info, err := s.Content.Info(s.ctx(), good.Layers[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Labels[labels.LabelUncompressed]; got != good.DiffIDs()[1].String() {
		t.Errorf("got label %s, want the true one still", got)
	}
}
