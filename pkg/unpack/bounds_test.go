package unpack_test

import (
	"math"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

func TestBounds(t *testing.T) {
	const ratio, bytes = "limits.ratio", "limits.unpacked_bytes"
	for _, tc := range []struct {
		name   string
		bounds unpack.Bounds
		size   int64
		want   int64
		key    string
	}{
		{"default, a small layer", unpack.Bounds{}, 100, 1 << 30, ratio},
		{"default, a large layer", unpack.Bounds{}, 1 << 20, 2000 << 20, ratio},
		{"default, a huge layer", unpack.Bounds{}, 1 << 33, 1 << 40, bytes},
		{"default, a size that cannot be", unpack.Bounds{}, math.MaxInt64, 1 << 40, bytes},
		{"bytes", unpack.Bounds{Bytes: 1000}, 1 << 20, 1000, bytes},
		{"ratio", unpack.Bounds{Ratio: 3}, 1 << 30, 3 << 30, ratio},
		{"no bytes", unpack.Bounds{Bytes: -1}, 1 << 33, 2000 << 33, ratio},
		{"no ratio", unpack.Bounds{Ratio: -1}, 1, 1 << 40, bytes},
		{"nothing", unpack.Bounds{Bytes: -1, Ratio: -1}, 1, 0, bytes},
	} {
		if got, key := tc.bounds.Of(tc.size); got != tc.want || key != tc.key {
			t.Errorf("%s: got %d by %s, want %d by %s", tc.name, got, key, tc.want, tc.key)
		}
	}
}
