package check_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// TestProgress wants each blob to be shown from its first byte to its last, and
// what is wrong with it at the end.
func TestProgress(t *testing.T) {
	noisy := pulltest.NewLayer(pulltest.Uncompressed, pulltest.Regular("zeros", string(make([]byte, 5<<20))))
	other := pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("other", "file"))
	img := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{noisy, other}})
	each(t, []teststore.Place{teststore.Places()[0], teststore.Places()[2]}, func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.pull(ref)
		spoil(t, s.blob(other.Digest), flip)
		at, done := map[digest.Digest][]int64{}, map[digest.Digest]progress.Event{}
		events := s.checkEvents(ref)
		for _, e := range events {
			switch e.Kind {
			case progress.VerifyProgress:
				at[e.Digest] = append(at[e.Digest], e.Bytes.Done)
			case progress.VerifyDone:
				done[e.Digest] = e
			}
		}
		if first, last := events[0], events[len(events)-1]; first.Kind != progress.Verify || last.Kind != progress.Verified || last.Findings != 1 {
			t.Errorf("got events from %+v to %+v, want those of the image, with one finding", first, last)
		}
		offsets := at[noisy.Digest]
		if len(offsets) < 3 || offsets[0] != 0 || offsets[len(offsets)-1] <= noisy.Size/2 {
			t.Errorf("got offsets %v of a layer of %d bytes, want them to go up", offsets, noisy.Size)
		}
		if e := done[noisy.Digest]; e.Bytes.Done != noisy.Size || e.Blob != progress.Layer || e.Message != "" {
			t.Errorf("got %+v of the layer, want all of its bytes and nothing wrong", e)
		}
		if e := done[other.Digest]; e.Message == "" {
			t.Errorf("got %+v of the corrupt layer, want what is wrong with it", e)
		}
		if e := done[img.Config.Digest]; e.Blob != progress.Config || e.Message != "" {
			t.Errorf("got %+v of the config, want nothing wrong", e)
		}
	})
}
