package inflate_test

import (
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

func TestSniff(t *testing.T) {
	for _, tt := range []struct {
		magic string
		want  inflate.Format
	}{
		{"", inflate.Plain},
		{"\x1f", inflate.Plain},
		{"\x1f\x8b", inflate.Gzip},
		{"\x1f\x8b\x08\x00", inflate.Gzip},
		{"\x28\xb5\x2f", inflate.Plain},
		{"\x28\xb5\x2f\xfd", inflate.Zstd},
		{"\x50\x2a\x4d\x18", inflate.Zstd},
		{"\x5f\x2a\x4d\x18 and more", inflate.Zstd},
		{"\x60\x2a\x4d\x18", inflate.Plain},
		{"\x50\x2a\x4d", inflate.Plain},
		{"bin/", inflate.Plain},
	} {
		if got := inflate.Sniff([]byte(tt.magic)); got != tt.want {
			t.Errorf("%q: got format %d, want %d", tt.magic, got, tt.want)
		}
	}
}
