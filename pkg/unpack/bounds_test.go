package unpack

import (
	"errors"
	"io"
	"math"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
)

func TestBoundsOfSize(t *testing.T) {
	const ratio, bytes = "limits.ratio", "limits.unpacked_bytes"
	for _, tc := range []struct {
		name   string
		bounds Bounds
		size   int64
		want   int64
		key    string
	}{
		{"default, a small layer", Bounds{}, 100, 1 << 30, ratio},
		{"default, a large layer", Bounds{}, 1 << 20, 2000 << 20, ratio},
		{"default, a huge layer", Bounds{}, 1 << 33, 1 << 40, bytes},
		{"default, a size that cannot be", Bounds{}, math.MaxInt64, 1 << 40, bytes},
		{"bytes", Bounds{Bytes: 1000}, 1 << 20, 1000, bytes},
		{"ratio", Bounds{Ratio: 3}, 1 << 30, 3 << 30, ratio},
		{"no bytes", Bounds{Bytes: -1}, 1 << 33, 2000 << 33, ratio},
		{"no ratio", Bounds{Ratio: -1}, 1, 1 << 40, bytes},
		{"nothing", Bounds{Bytes: -1, Ratio: -1}, 1, 0, bytes},
	} {
		if got, want := tc.bounds.of(tc.size), (bound{tc.want, tc.key}); got != want {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, want)
		}
	}
}

// TestRule7EndlessDrain has a layer that is only read go on for ever.
func TestRule7EndlessDrain(t *testing.T) {
	src := &pulltest.Endless{Chunk: make([]byte, 4<<10)}
	if err := drain(io.Discard, src, 1<<20); !errors.Is(err, lay.ErrLimit) || src.Count > 2<<20 {
		t.Errorf("got %v after %d bytes, want %v after about %d", err, src.Count, lay.ErrLimit, 1<<20)
	}
	if err := drain(io.Discard, io.LimitReader(src, 1<<20), 0); err != nil {
		t.Errorf("got %v, want the end of the source where there is no limit", err)
	}
}
