package layer_test

import (
	"archive/tar"
	"bytes"
	"os"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// header is that of an entry by the caller's user, without its content.
func header(t *testing.T, h tar.Header) []byte {
	t.Helper()
	h.Uid, h.Gid, h.Mode = os.Getuid(), os.Getgid(), 0o755
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRule7EndlessLayers has archives that never end. None is read far beyond the
// limit.
func TestRule7EndlessLayers(t *testing.T) {
	const limit = 4 << 20
	zeros := make([]byte, 64<<10)
	large := header(t, tar.Header{Name: "file", Typeflag: tar.TypeReg, Size: 1 << 40, Format: tar.FormatGNU})
	special := func(kind byte) []byte { // with the size of large
		h := bytes.Clone(large[:512])
		h[156] = kind
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:156], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
		return h
	}
	for name, src := range map[string]*pulltest.Endless{
		"a folder again and again": {Chunk: header(t, tar.Header{Name: "dir/", Typeflag: tar.TypeDir})},
		"a file":                   {First: large, Chunk: zeros},
		"an extended header":       {First: special(tar.TypeXHeader), Chunk: []byte("30 comment=endless and endless\n")},
		"a long name":              {First: special(tar.TypeGNULongName), Chunk: []byte("name")},
		"a long link":              {First: special(tar.TypeGNULongLink), Chunk: []byte("name")},
		"long names of long names": {Chunk: append(bytes.Clone(special(tar.TypeGNULongName)[:512]), zeros[:512]...)},
		"zeros after the end":      {Chunk: zeros},
		"noise after the end":      {First: zeros[:1024], Chunk: []byte("noise")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := layer.ApplyTo(t.Context(), t.TempDir(), src, layer.Options{MaxBytes: limit})
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("got %v, want a malformed or too large archive", err)
			}
			if src.Count > limit+1<<20 {
				t.Errorf("got %d bytes read, want about %d at most", src.Count, limit)
			}
		})
	}
}
