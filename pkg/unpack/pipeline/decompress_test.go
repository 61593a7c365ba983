package pipeline_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

func pack(t testing.TB, c pulltest.Compression, data []byte) []byte {
	t.Helper()
	return c.Compress(data)
}

// decompress returns what a layer's blob decompresses to, and the digest that is
// made of it on the way.
func decompress(src io.Reader) (data []byte, sum digest.Digest, err error) {
	sum, err = newPipeline().Run(src, layer(), func(plain *pipeline.Plain) (err error) {
		data, err = io.ReadAll(plain)
		return err
	})
	return data, sum, err
}

// TestDecompress recognises what it gets by its first bytes.
func TestDecompress(t *testing.T) {
	data := append(bytes.Repeat([]byte("some text that repeats, "), 50_000), noise(700_000)...)
	skippable := []byte{0x5a, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'm', 'e', 't', 'a'}
	tests := map[string]struct{ blob, want []byte }{
		"plain":                       {data, data},
		"gzip":                        {pack(t, pulltest.Gzip, data), data},
		"zstd":                        {pack(t, pulltest.Zstd, data), data},
		"two gzip members":            {slices.Concat(pack(t, pulltest.Gzip, data), pack(t, pulltest.Gzip, data[:100])), append(slices.Clone(data), data[:100]...)},
		"two zstd frames":             {slices.Concat(pack(t, pulltest.Zstd, data), pack(t, pulltest.Zstd, data[:100])), append(slices.Clone(data), data[:100]...)},
		"zstd behind skippable frame": {slices.Concat(skippable, pack(t, pulltest.Zstd, data)), data},
		"nothing":                     {nil, nil},
		"one byte":                    {[]byte{0x1f}, []byte{0x1f}},
		"gzip of nothing":             {pack(t, pulltest.Gzip, nil), nil},
		"zstd of nothing":             {pack(t, pulltest.Zstd, nil), nil},
	}
	for name, tt := range tests {
		for how, src := range map[string]io.Reader{"at once": bytes.NewReader(tt.blob), "in halves": iotest.HalfReader(bytes.NewReader(tt.blob))} {
			got, sum, err := decompress(src)
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("%s, %s: got %d bytes and %v, want %d", name, how, len(got), err, len(tt.want))
			}
			if want := digest.FromBytes(tt.want); sum != want {
				t.Errorf("%s, %s: got sum %s, want %s", name, how, sum, want)
			}
		}
	}
}

// TestOpen reads the same as a Pipeline does.
func TestOpen(t *testing.T) {
	data := append(bytes.Repeat([]byte("some text that repeats, "), 50_000), noise(700_000)...)
	for _, c := range []pulltest.Compression{pulltest.Uncompressed, pulltest.Gzip, pulltest.Zstd} {
		r, err := pipeline.Open(bytes.NewReader(pack(t, c, data)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%q: got %d bytes and %v, want %d", c, len(got), err, len(data))
		}
	}
}

// TestOpenClassifies errors as a Pipeline does.
func TestOpenClassifies(t *testing.T) {
	cut := errors.New("the connection was cut")
	for _, c := range []pulltest.Compression{pulltest.Gzip, pulltest.Zstd} {
		blob := pack(t, c, noise(1<<20))
		half := blob[:len(blob)/2]
		for want, src := range map[error]io.Reader{
			cut:                        io.MultiReader(bytes.NewReader(half), iotest.ErrReader(cut)),
			errdefs.ErrInvalidArgument: bytes.NewReader(half),
		} {
			r, err := pipeline.Open(src)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r); !errors.Is(err, want) {
				t.Errorf("%q: got %v, want %v", c, err, want)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := pipeline.Open(iotest.ErrReader(cut)); !errors.Is(err, cut) {
		t.Errorf("got %v, want %v", err, cut)
	}
}

// TestDecompressBrokenOff never takes a part for the whole: not even where all
// data has come and only a checksum is missing.
func TestDecompressBrokenOff(t *testing.T) {
	data := append(bytes.Repeat([]byte("some text that repeats, "), 100), noise(1000)...)
	for _, c := range []pulltest.Compression{pulltest.Gzip, pulltest.Zstd} {
		blob := pack(t, c, data)
		for n := 4; n < len(blob); n += 1 + (len(blob)-n-1)/50 {
			got, _, err := decompress(bytes.NewReader(blob[:n]))
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s cut after %d of %d bytes: got %d bytes and %v, want an invalid argument", c, n, len(blob), len(got), err)
			}
		}
		flipped := slices.Clone(blob)
		flipped[len(flipped)/2] ^= 0x10
		if _, _, err := decompress(bytes.NewReader(flipped)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s with a flipped bit: got %v, want an invalid argument", c, err)
		}
	}
}

// TestDecompressPassesErrorsOn unchanged: what did not arrive is not malformed.
func TestDecompressPassesErrorsOn(t *testing.T) {
	cut := errors.New("the connection was cut")
	data := noise(1 << 20)
	for _, c := range []pulltest.Compression{pulltest.Uncompressed, pulltest.Gzip, pulltest.Zstd} {
		blob := pack(t, c, data)
		for _, err := range []error{cut, io.ErrUnexpectedEOF} {
			for _, n := range []int{0, 2, len(blob) / 2, len(blob) - 1} {
				_, _, got := decompress(io.MultiReader(bytes.NewReader(blob[:n]), iotest.ErrReader(err)))
				if !errors.Is(got, err) || errdefs.IsInvalidArgument(got) {
					t.Errorf("%q after %d bytes: got %v, want %v alone", c, n, got, err)
				}
			}
		}
	}
}

// FuzzDecompress compares gzip streams with the standard library, while
// everything else must end.
func FuzzDecompress(f *testing.F) {
	for _, c := range []pulltest.Compression{pulltest.Uncompressed, pulltest.Gzip, pulltest.Zstd} {
		f.Add(pack(f, c, []byte("hello, hello, hello")))
	}
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Add([]byte{0x50, 0x2a, 0x4d, 0x18})
	f.Fuzz(func(t *testing.T, blob []byte) {
		got, sum, err := decompress(bytes.NewReader(blob))
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("got %v, want the class of an invalid argument", err)
			}
			return
		}
		if want := digest.FromBytes(got); sum != want {
			t.Errorf("got sum %s, want %s", sum, want)
		}
		if !bytes.HasPrefix(blob, []byte{0x1f, 0x8b}) || len(blob) < 4 {
			return
		}
		z, err := gzip.NewReader(bytes.NewReader(blob))
		if err != nil {
			t.Fatalf("got %d bytes, want the standard library's error: %v", len(got), err)
		}
		want, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, want the standard library's %d and %v", len(got), len(want), err)
		}
	})
}

// TestL11WindowOfZstd wants windows of up to 128 MiB and no larger ones to be
// decoded.
func TestL11WindowOfZstd(t *testing.T) {
	frame := func(exponent byte) []byte { // RFC 8878, section 3.1.1.1.2: 2 to the power of 10 + exponent
		return []byte{0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 1, 0, 0} // and one last block, which is empty
	}
	for exponent, good := range map[byte]bool{17: true, 18: false, 19: false, 30: false} {
		data, _, err := decompress(bytes.NewReader(frame(exponent)))
		if good && (err != nil || len(data) > 0) || !good && !errdefs.IsInvalidArgument(err) {
			t.Errorf("window of %d MiB: got %d bytes, %v", 1<<exponent>>10, len(data), err)
		}
		r, err := pipeline.Open(bytes.NewReader(frame(exponent)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); (err == nil) != good {
			t.Errorf("opened with a window of %d MiB: got %v", 1<<exponent>>10, err)
		}
	}
}
