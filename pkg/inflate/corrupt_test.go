package inflate_test

import (
	"bytes"
	"compress/gzip"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// TestErrors says which error stands for what, and that the oracles refuse the
// same.
func TestErrors(t *testing.T) {
	good := compress(t, 6, []byte("hello, hello, hello, world"))
	edit := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	end := len(good)
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"good", good, nil},
		{"two members", slices.Concat(good, good), nil},
		{"empty", nil, io.ErrUnexpectedEOF},
		{"magic", edit(0, 0), inflate.ErrHeader},
		{"method", edit(2, 7), inflate.ErrHeader},
		{"reserved flag", edit(3, 0x20), inflate.ErrHeader},
		{"text flag", edit(3, 1), nil},
		{"block type", gzipOf([]byte{7}, nil), inflate.ErrCorrupt},
		{"stored length", gzipOf([]byte{1, 1, 0, 1, 0, 'x'}, []byte("x")), inflate.ErrCorrupt},
		{"checksum", edit(end-8, good[end-8]^1), inflate.ErrChecksum},
		{"size", edit(end-4, good[end-4]^1), inflate.ErrChecksum},
		{"no trailer", good[:end-8], io.ErrUnexpectedEOF},
		{"zeros after", slices.Concat(good, make([]byte, 20)), inflate.ErrHeader},
		{"text after", slices.Concat(good, []byte("trailing text")), inflate.ErrHeader},
		{"one byte after", slices.Concat(good, []byte{0}), io.ErrUnexpectedEOF},
		{"cut header after", slices.Concat(good, good[:9]), io.ErrUnexpectedEOF},
		{"cut name after", slices.Concat(good, edit(3, 8)[:10], []byte("name")), io.ErrUnexpectedEOF},
		{"bad member after", slices.Concat(good, edit(end-8, good[end-8]^1)), inflate.ErrChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := io.ReadAll(inflate.NewReader(bytes.NewReader(c.data))); err != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if _, err := std(c.data); err != c.want {
				t.Errorf("standard library: got %v, want %v", err, c.want)
			}
			if _, err := klauspost(c.data); err != c.want {
				t.Errorf("klauspost: got %v, want %v", err, c.want)
			}
			compare(t, inflate.NewReader(nil), c.data, 7)
		})
	}
}

// TestHeaders: optional header fields, as the oracles take them.
func TestHeaders(t *testing.T) {
	z := inflate.NewReader(nil)
	plain := len(withFields(t, 0))
	for _, n := range []int{0, 1, 30, 510, 511, 512, 513, 2000} {
		data := withFields(t, n)
		compare(t, z, data, uint32(n))

		head := len(data) - plain + 10
		for _, wrong := range []byte{0, 1} {
			with := withHeaderCRC(data, head, wrong)
			compare(t, z, with, uint32(n))
			z.Reset(bytes.NewReader(with))
			_, err := io.ReadAll(z)
			if ok := wrong == 0 && n < 512; (err == nil) != ok {
				t.Errorf("%d bytes, header checksum off by %d: got %v, want success: %v", n, wrong, err, ok)
			}
		}
	}
}

// withFields returns a member with optional fields of n bytes each, or with
// none.
func withFields(t *testing.T, n int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if n > 0 {
		w.Extra = make([]byte, n)
		w.Name = strings.Repeat("n", n)
		w.Comment = strings.Repeat("c", n)
	}
	if _, err := w.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// withHeaderCRC adds the checksum of the header, plus wrong, to a member whose
// header is head bytes long.
func withHeaderCRC(data []byte, head int, wrong byte) []byte {
	with := bytes.Clone(data[:head])
	with[3] |= 1 << 1
	sum := uint16(crc32.ChecksumIEEE(with))
	return slices.Concat(with, []byte{byte(sum) + wrong, byte(sum >> 8)}, data[head:])
}

// streams is how many generated streams a test tries.
func streams() uint64 {
	if testing.Short() {
		return 100
	}
	return 250
}

// TestEveryTruncation cuts streams at every byte.
func TestEveryTruncation(t *testing.T) {
	z := inflate.NewReader(nil)
	for seed := range streams() / 100 {
		data := gzipOf(randomStream(seed))
		for n := range min(len(data), 700) {
			compare(t, z, data[:n], uint32(n))
		}
	}
	hello := compress(t, 6, []byte("hello, hello, hello, world"))
	two := slices.Concat(hello, hello)
	for n := range len(two) {
		z.Reset(bytes.NewReader(two[:n]))
		_, err := io.ReadAll(z)
		if want := n == len(hello); (err == nil) != want || err != nil && err != io.ErrUnexpectedEOF {
			t.Errorf("%d of %d bytes: got %v, want success: %v", n, len(two), err, want)
		}
	}
}

// TestRandomStreams decodes streams that no compressor makes.
func TestRandomStreams(t *testing.T) {
	z := inflate.NewReader(nil)
	for seed := range streams() {
		deflate, plain := randomStream(seed)
		data := gzipOf(deflate, plain)
		if want, err := std(data); err != nil || !bytes.Equal(want, plain) {
			t.Fatal("the test's stream is wrong: ", err)
		}
		compare(t, z, data, uint32(seed*977))
	}
}

// TestBitFlips changes single bits of streams that no compressor makes.
func TestBitFlips(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	z := inflate.NewReader(nil)
	for seed := range streams() {
		data := gzipOf(randomStream(seed))
		// Mostly near the start, where the description of the code is.
		at := rng.IntN(len(data) * 8)
		if seed%4 > 0 {
			at = 80 + rng.IntN(min(1200, len(data)*8-80))
		}
		data[at/8] ^= 1 << (at % 8)
		compare(t, z, data, uint32(seed))
	}
}

// TestKlauspost holds the package against the decoder that containerd has.
func TestKlauspost(t *testing.T) {
	z := inflate.NewReader(nil)
	rng := rand.New(rand.NewPCG(8, 4))
	for seed := range streams() / 3 {
		data := gzipOf(randomStream(seed))
		if seed%2 == 1 {
			at := rng.IntN(len(data))
			data[at] ^= 1 << rng.IntN(8)
		}
		want, wantErr := klauspost(data)
		z.Reset(bytes.NewReader(data))
		got, err := io.ReadAll(z)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("seed %d: got %d bytes, error %v, want %d bytes, error %v", seed, len(got), err, len(want), wantErr)
		}
	}
}

// TestIncompleteCodes: what containerd refuses, and what it lets pass.
func TestIncompleteCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		lit  []uint8 // of 'a', 'b' and the end of the block
		dist []uint8
		ok   bool
	}{
		{"complete", []uint8{1, 2, 2}, []uint8{1, 1}, true},
		{"one distance", []uint8{1, 2, 2}, []uint8{1}, true},
		{"no distance", []uint8{1, 2, 2}, []uint8{0}, true},
		{"end of block alone", []uint8{0, 0, 1}, []uint8{0}, true},
		{"nothing at all", []uint8{0, 0, 0}, []uint8{0}, false},
		{"incomplete", []uint8{2, 2, 2}, []uint8{1, 1}, false},
		{"too many", []uint8{1, 1, 1}, []uint8{1, 1}, false},
		{"one distance of two bits", []uint8{1, 2, 2}, []uint8{2}, false},
		{"incomplete distances", []uint8{1, 2, 2}, []uint8{2, 2}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			lit := make([]uint8, endOfBlock+1)
			lit['a'], lit['b'], lit[endOfBlock] = c.lit[0], c.lit[1], c.lit[2]
			w := &streamWriter{rng: rand.New(rand.NewPCG(1, 1))}
			w.bits(1, 1)
			w.bits(2, 2)
			w.bits(0, 5)
			w.bits(uint64(len(c.dist)-1), 5)
			w.codeLengths(slices.Concat(lit, c.dist))
			if n := lit[endOfBlock]; n != 0 {
				w.bits(uint64(codesOf(lit)[endOfBlock]), uint(n))
			}
			w.align()
			data := gzipOf(w.buf, nil)
			_, err := io.ReadAll(inflate.NewReader(bytes.NewReader(data)))
			if (err == nil) != c.ok {
				t.Errorf("got %v, want success: %v", err, c.ok)
			}
			if _, err := klauspost(data); (err == nil) != c.ok {
				t.Errorf("klauspost: got %v, want success: %v", err, c.ok)
			}
			compare(t, inflate.NewReader(nil), data, 3)
		})
	}
}

// TestBadDescriptions: what can be wrong with the description of a code, apart
// from the code.
func TestBadDescriptions(t *testing.T) {
	const ( // symbols of the code for code lengths
		repeat    = 16
		longZeros = 18
	)
	for _, c := range []struct {
		name    string
		nlit    int
		ndist   int
		meta    map[int]uint8 // code lengths
		symbols []int         // what follows, with extra bits of one
	}{
		{"too many literals", 287, 1, map[int]uint8{0: 1, longZeros: 1}, nil},
		{"too many distances", 257, 31, map[int]uint8{0: 1, longZeros: 1}, nil},
		{"incomplete code", 257, 1, map[int]uint8{0: 2, longZeros: 1}, nil},
		{"nothing to repeat", 257, 1, map[int]uint8{0: 1, repeat: 1}, []int{repeat}},
		{"too many lengths", 257, 1, map[int]uint8{0: 1, longZeros: 1}, []int{longZeros, longZeros}},
	} {
		t.Run(c.name, func(t *testing.T) {
			meta := make([]uint8, numMeta)
			for s, n := range c.meta {
				meta[s] = n
			}
			w := describe(c.nlit, c.ndist, meta)
			for _, s := range c.symbols {
				w.bits(uint64(codesOf(meta)[s]), uint(meta[s]))
				w.bits(1<<7-1, map[int]uint{repeat: 2, longZeros: 7}[s])
			}
			wantCorrupt(t, w)
		})
	}
	t.Run("code without meaning", func(t *testing.T) {
		meta := make([]uint8, numMeta)
		meta[0] = 1
		w := describe(257, 1, meta)
		w.bits(1, 1) // 0 is the only code
		wantCorrupt(t, w)
	})
}

// describe starts a dynamic block up to the code for code lengths.
func describe(nlit, ndist int, meta []uint8) *streamWriter {
	w := &streamWriter{}
	w.bits(1, 1)
	w.bits(2, 2)
	w.bits(uint64(nlit-257), 5)
	w.bits(uint64(ndist-1), 5)
	w.bits(numMeta-4, 4)
	for _, s := range metaOrder {
		w.bits(uint64(meta[s]), 3)
	}
	return w
}

// wantCorrupt checks that what w wrote is refused, whatever follows it.
func wantCorrupt(t *testing.T, w *streamWriter) {
	t.Helper()
	w.align()
	data := gzipOf(slices.Concat(w.buf, make([]byte, 100)), nil)
	for name, decode := range map[string]func([]byte) ([]byte, error){
		"inflate": func(data []byte) ([]byte, error) {
			return io.ReadAll(inflate.NewReader(bytes.NewReader(data)))
		},
		"standard library": std,
		"klauspost":        klauspost,
	} {
		if _, err := decode(data); err != inflate.ErrCorrupt {
			t.Errorf("%s: got %v, want %v", name, err, inflate.ErrCorrupt)
		}
	}
	compare(t, inflate.NewReader(nil), data, 11)
}
