package inflate_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// plains returns data of several kinds.
func plains(rng *rand.Rand, size int) map[string][]byte {
	m := map[string][]byte{}
	fill := func(name string, f func(b []byte, i int) byte) {
		b := make([]byte, size)
		for i := range b {
			b[i] = f(b, i)
		}
		m[name] = b
	}
	fill("random", func([]byte, int) byte { return byte(rng.Uint32()) })
	fill("four", func([]byte, int) byte { return byte(rng.IntN(4)) })
	fill("runs", func(_ []byte, i int) byte { return byte(i / 1000) })
	fill("skewed", func([]byte, int) byte { x := rng.ExpFloat64() * 8; return byte(x * x) })
	fill("repeats", func(b []byte, i int) byte {
		if i > 100 && rng.IntN(3) > 0 {
			return b[i-1-rng.IntN(100)]
		}
		return byte(rng.Uint32())
	})
	fill("far", func(b []byte, i int) byte {
		if i > 32768 && i%5000 < 4000 {
			return b[i-32768]
		}
		return byte(rng.Uint32())
	})
	return m
}

// skewed returns data that compresses into literals, for the most part.
func skewed(size int) []byte { return plains(rand.New(rand.NewPCG(1, 2)), size)["skewed"] }

// compress returns a gzip member with a flush after every part.
func compress(t testing.TB, level int, parts ...[]byte) []byte {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	z := inflate.NewReader(nil)
	sizes := []int{0, 1, 2, 3, 100, 2000, 70000, 700000}
	if testing.Short() {
		sizes = slices.DeleteFunc(sizes, func(size int) bool { return size > 70000 })
	}
	for _, size := range sizes {
		for name, plain := range plains(rng, size) {
			for _, level := range []int{0, 1, 6, -2} {
				t.Run(fmt.Sprintf("%s-%d-level%d", name, size, level), func(t *testing.T) {
					roundTrip(t, z, plain, compress(t, level, plain[:size/3], plain[size/3:]))
				})
			}
		}
	}
}

func roundTrip(t *testing.T, z *inflate.Reader, plain, data []byte) {
	t.Helper()
	var out bytes.Buffer
	z.Reset(bytes.NewReader(data))
	n, err := z.WriteTo(&out)
	if err != nil || n != int64(len(plain)) || !bytes.Equal(out.Bytes(), plain) {
		t.Errorf("WriteTo: got %d bytes, error %v, want %d bytes", n, err, len(plain))
	}
	z.Reset(bytes.NewReader(data))
	got, err := readAll(z, 4096)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("Read: got %d bytes, error %v, want %d bytes", len(got), err, len(plain))
	}
	for _, size := range []int{inflate.MinBufferSize, inflate.BufferSize, 2 << 20} {
		z.Reset(bytes.NewReader(data))
		got, err = fillAll(z, size)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("Fill of %d: got %d bytes, error %v, want %d bytes", size, len(got), err, len(plain))
		}
	}
}

// TestMembers: the data of many members is one stream, and matches do not
// reach across.
func TestMembers(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	z := inflate.NewReader(nil)
	var plain, data []byte
	for i := range 40 {
		for _, p := range plains(rng, rng.IntN(30000)*(i%3)) {
			plain = append(plain, p...)
			data = append(data, compress(t, i%10, p)...)
		}
	}
	roundTrip(t, z, plain, data)
	compare(t, z, data, 12345)

	// A block that starts with a match to what the member before it left.
	w := &streamWriter{}
	w.bits(1, 1)
	w.bits(1, 2)         // fixed code
	w.bits(0b1000000, 7) // length 3: 0000001, written lowest bit first
	w.bits(0, 5)         // distance 1
	w.bits(0, 7)         // end of block
	w.align()
	good := gzipOf([]byte{1, 1, 0, 0xfe, 0xff, 'x'}, []byte("x"))
	data = append(good, gzipOf(w.buf, []byte("xxx"))...)
	z.Reset(bytes.NewReader(data))
	if got, err := readAll(z, 100); string(got) != "x" || err != inflate.ErrCorrupt {
		t.Errorf("got %q, error %v, want %q, error %v", got, err, "x", inflate.ErrCorrupt)
	}
	compare(t, z, data, 1)
}

// TestIO runs the checks of testing/iotest on the Reader, and its readers
// under it.
func TestIO(t *testing.T) {
	plain := skewed(5000)
	data := compress(t, 6, plain)
	if err := iotest.TestReader(inflate.NewReader(bytes.NewReader(data)), plain); err != nil {
		t.Error(err)
	}
	for _, f := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		got, err := io.ReadAll(inflate.NewReader(f(bytes.NewReader(data))))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %d bytes, error %v, want %d bytes", len(got), err, len(plain))
		}
		got, err = fillAll(inflate.NewReader(f(bytes.NewReader(data))), inflate.MinBufferSize)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("Fill: got %d bytes, error %v, want %d bytes", len(got), err, len(plain))
		}
	}
}

// TestSourceErrors: an error of the source comes out as it is, after all data
// that was complete before it.
func TestSourceErrors(t *testing.T) {
	plain := skewed(5000)
	data := compress(t, 6, plain)
	boom := errors.New("boom")
	for _, n := range []int{0, 5, 40, len(data) - 1, len(data)} {
		src := func() io.Reader { return io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(boom)) }
		got, err := io.ReadAll(inflate.NewReader(src()))
		if err != boom {
			t.Errorf("Read after %d bytes: got %v, want %v", n, err, boom)
		}
		filled, err := fillAll(inflate.NewReader(src()), inflate.MinBufferSize)
		if err != boom {
			t.Errorf("Fill after %d bytes: got %v, want %v", n, err, boom)
		}
		if !bytes.HasPrefix(plain, got) || !bytes.Equal(got, filled) {
			t.Errorf("after %d bytes: Read gives %d bytes, Fill %d", n, len(got), len(filled))
		}
		if n >= len(data)-1 && len(got) != len(plain) {
			t.Errorf("after %d bytes: got %d bytes, want %d", n, len(got), len(plain))
		}
	}
	if _, err := inflate.NewReader(idle{}).Read(make([]byte, 1)); err != io.ErrNoProgress {
		t.Errorf("source without data: got %v, want %v", err, io.ErrNoProgress)
	}
}

// idle is a source that never has anything.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// TestSinkErrors: what the writer did not take is still there afterwards.
func TestSinkErrors(t *testing.T) {
	plain := skewed(5000)
	full := errors.New("full")
	for _, c := range []struct {
		name string
		w    *sink
		want error
	}{
		{"error", &sink{room: 1000, err: full}, full},
		{"short", &sink{room: 1000}, io.ErrShortWrite},
	} {
		z := inflate.NewReader(bytes.NewReader(compress(t, 6, plain)))
		n, err := z.WriteTo(c.w)
		if n != 1000 || err != c.want {
			t.Errorf("%s: got %d bytes, error %v, want 1000 bytes, error %v", c.name, n, err, c.want)
		}
	}
}

// A sink takes room bytes at most, and then reports err.
type sink struct {
	room int
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	n := min(len(p), s.room)
	s.room -= n
	if n < len(p) {
		return n, s.err
	}
	return n, nil
}

// TestEnd: the end, and any other error, stays once it is reached.
func TestEnd(t *testing.T) {
	buf := make([]byte, inflate.MinBufferSize)
	for _, c := range []struct {
		data []byte
		want error
	}{
		{compress(t, 6, []byte("x")), io.EOF},
		{[]byte("this is not a gzip stream"), inflate.ErrHeader},
	} {
		z := inflate.NewReader(bytes.NewReader(c.data))
		io.Copy(io.Discard, z) // the error comes again below
		for range 3 {
			if n, err := z.Read(buf); n != 0 || err != c.want {
				t.Errorf("Read: got %d bytes, error %v, want %v", n, err, c.want)
			}
			if data, err := z.Fill(buf); data != nil || err != c.want {
				t.Errorf("Fill: got %d bytes, error %v, want %v", len(data), err, c.want)
			}
		}
		if n, err := z.Read(nil); n != 0 || err != nil {
			t.Errorf("Read of nothing: got %d, %v, want 0, nil", n, err)
		}
	}
}

// TestFillFull: a source that trickles does not make for small pieces.
func TestFillFull(t *testing.T) {
	plain := skewed(1 << 20)
	z := inflate.NewReader(&chunks{data: compress(t, 6, plain), n: 777})
	var sizes []int
	buf := make([]byte, 256<<10)
	for {
		data, err := z.Fill(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(data))
	}
	for _, n := range sizes[:len(sizes)-1] {
		if n < len(buf)-33<<10 {
			t.Errorf("got pieces of %v bytes, want full ones", sizes)
		}
	}
	if _, err := z.Fill(make([]byte, inflate.MinBufferSize-1)); err != io.ErrShortBuffer {
		t.Errorf("short buffer: got %v, want %v", err, io.ErrShortBuffer)
	}
}

// TestPromptness: what can be decoded is handed out by Read and WriteTo before
// the source, which may have to wait, is asked for more.
func TestPromptness(t *testing.T) {
	first := skewed(100000)
	data := compress(t, 6, first, []byte("this is the rest, and it is longer than what is held back"))
	head := compress(t, 6, first)
	cut := len(head) - 13 + 40 // 13: empty last block and trailer
	for name, read := range map[string]func(*inflate.Reader, io.Writer) error{
		"Read": func(z *inflate.Reader, w io.Writer) error {
			_, err := io.CopyBuffer(w, struct{ io.Reader }{z}, make([]byte, 5000))
			return err
		},
		"WriteTo": func(z *inflate.Reader, w io.Writer) error { _, err := z.WriteTo(w); return err },
	} {
		var out bytes.Buffer
		asked := -1
		src := io.MultiReader(bytes.NewReader(data[:cut]), readerFunc(func([]byte) (int, error) {
			asked = out.Len()
			return 0, io.EOF
		}))
		err := read(inflate.NewReader(src), &out)
		if asked < len(first) || err != io.ErrUnexpectedEOF {
			t.Errorf("%s: got %d bytes before more was asked for, want %d; error %v", name, asked, len(first), err)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestReset: nothing of one stream is left in the next, wherever the first one
// was given up.
func TestReset(t *testing.T) {
	z := inflate.NewReader(nil)
	rng := rand.New(rand.NewPCG(3, 9))
	for seed := range uint64(100) {
		old := gzipOf(randomStream(seed + 1000))
		z.Reset(bytes.NewReader(old[:rng.IntN(len(old))]))
		if seed%2 == 0 {
			z.Read(make([]byte, rng.IntN(100000)))
		} else {
			z.Fill(make([]byte, inflate.MinBufferSize))
		}
		deflate, plain := randomStream(seed)
		z.Reset(bytes.NewReader(gzipOf(deflate, plain)))
		got, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("seed %d: got %d bytes, error %v, want %d bytes", seed, len(got), err, len(plain))
		}
	}
}
