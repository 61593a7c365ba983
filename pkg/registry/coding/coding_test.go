package coding_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/containerd-pull/containerd-pull/pkg/registry/coding"
)

// coded returns b in a coding.
func coded(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := io.WriteCloser(gzip.NewWriter(&buf))
	if name == "zstd" {
		var err error
		if z, err = zstd.NewWriter(&buf); err != nil {
			t.Fatal(err)
		}
	}
	_, err := z.Write(b)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// undo reads all of src, of which size bytes are wanted.
func undo(name string, src io.Reader, size int64, itself string) ([]byte, error) {
	r, c := coding.Undo(name, src, io.NopCloser(nil), size, itself)
	defer c.Close()
	return io.ReadAll(r)
}

// TestUndo: what the bytes begin with decides whether the label is right
// (moby#17595).
func TestUndo(t *testing.T) {
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(i*i>>3 ^ i*2654435761>>13)
	}
	for _, name := range []string{"gzip", "zstd"} {
		for _, plain := range [][]byte{nil, []byte("{}"), random} {
			layer := coded(t, name, plain)
			for what, c := range map[string]struct {
				src, want []byte
				itself    string
			}{
				"labelled rightly":             {layer, plain, ""},
				"labelled wrongly":             {plain, plain, ""},
				"a layer in the coding":        {layer, layer, name},
				"a layer that was coded again": {coded(t, name, layer), layer, name},
				"a layer of the other coding":  {coded(t, name, []byte("other")), []byte("other"), "other"},
			} {
				if got, err := undo(name, bytes.NewReader(c.src), int64(len(c.want)), c.itself); err != nil || !bytes.Equal(got, c.want) {
					t.Errorf("%s, %s of %d bytes: got %d bytes and %v, want %d", name, what, len(plain), len(got), err, len(c.want))
				}
			}
		}
	}
}

// endless never ends and never gives anything.
type endless struct{ b []byte }

func (e endless) Read(p []byte) (int, error) { return copy(p, e.b), nil }

func TestM3UndoIsBounded(t *testing.T) {
	empty := coded(t, "gzip", nil)
	if _, err := undo("gzip", endless{bytes.Repeat(empty, 1+4096/len(empty))[:len(empty)]}, 100, ""); !errors.Is(err, coding.ErrEndless) {
		t.Errorf("got %v, want that it goes on", err)
	}
	broken := append(coded(t, "gzip", []byte("x")), "this is no member"...)
	if _, err := undo("gzip", bytes.NewReader(broken), 100, ""); !errors.Is(err, coding.ErrBroken) {
		t.Errorf("got %v, want a broken stream", err)
	}
	failed := errors.New("the connection broke")
	if _, err := undo("gzip", io.MultiReader(bytes.NewReader(empty[:12]), failing{failed}), 100, ""); !errors.Is(err, failed) {
		t.Errorf("got %v, want why the body ended", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestLabels(t *testing.T) {
	for label, want := range map[string]struct {
		is             string
		encoded, known bool
	}{
		"": {"", false, false}, "identity": {"identity", false, false}, " GZIP ": {"gzip", true, true},
		"x-gzip": {"gzip", true, true}, "zstd": {"zstd", true, true}, "br": {"br", true, false}, "aws-chunked": {"aws-chunked", true, false},
	} {
		resp := &http.Response{Header: http.Header{"Content-Encoding": {label}}}
		if coding.Of(resp) != want.is || coding.IsEncoded(resp) != want.encoded || coding.Known(resp) != want.known {
			t.Errorf("%q: got %q, encoded %v, known %v", label, coding.Of(resp), coding.IsEncoded(resp), coding.Known(resp))
		}
	}
	for mediaType, want := range map[string]string{
		"application/vnd.oci.image.layer.v1.tar+gzip":       "gzip",
		"application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd":       "zstd",
		"application/vnd.oci.image.layer.v1.tar":            "",
	} {
		if got := coding.OfBlob(mediaType); got != want || strings.Contains(got, "+") {
			t.Errorf("%s: got %q, want %q", mediaType, got, want)
		}
	}
}
