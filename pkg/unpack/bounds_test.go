package unpack

import (
	"math"
	"testing"
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
