package progress_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// TestSharedBlobCountsOnce: two images have a layer, of which one fetches it.
func TestSharedBlobCountsOnce(t *testing.T) {
	const size = 100
	var s progress.State
	for _, step := range []struct {
		ref               string
		kind              progress.Kind
		done              int64
		fetched, toUnpack int64
	}{
		{"a", progress.Planned, 0, 0, size},
		{"b", progress.Planned, 0, 0, size},
		{"b", progress.FetchStart, 0, 0, size},
		{"b", progress.UnpackStart, 0, 0, size},
		{"b", progress.FetchProgress, 40, 40, size},
		{"b", progress.FetchDone, size, size, size},
		{"a", progress.Present, 0, size, size},
	} {
		e := progress.Event{Ref: step.ref, Kind: step.kind, Blob: progress.Layer, Digest: digest.FromString("layer"), Bytes: progress.Bytes{Done: step.done, Total: size}}
		if step.kind == progress.Planned {
			e.ChainID = digest.FromString("chain")
		}
		s.Apply(e)
		if got := s.Totals(); got.Size != size || got.Fetched != step.fetched || got.ToUnpack != step.toUnpack || got.Layers != 1 {
			t.Errorf("after %s of %s: got %+v, want %d of %d bytes of one layer, %d to unpack", step.kind, step.ref, got, step.fetched, size, step.toUnpack)
		}
	}
}
