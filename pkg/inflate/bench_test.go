package inflate_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// discard counts bytes. It has no ReadFrom, so that all decoders are read with
// the buffer given to copyFrom.
type discard int64

func (d *discard) Write(p []byte) (int, error) {
	*d += discard(len(p))
	return len(p), nil
}

// copyFrom copies with Read alone.
func copyFrom(w io.Writer, r io.Reader) error {
	_, err := io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, 64<<10))
	return err
}

// corpora returns gzip data by name: generated text, the test program and,
// if INFLATE_BENCH names one, a layer.
func corpora(b *testing.B) map[string][]byte {
	m := map[string][]byte{"text": compress(b, 6, text(16<<20))}
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	code, err := os.ReadFile(exe)
	if err != nil {
		b.Fatal(err)
	}
	m["binary"] = compress(b, 6, code)
	if name := os.Getenv("INFLATE_BENCH"); name != "" {
		if m["layer"], err = os.ReadFile(name); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

// BenchmarkGunzip measures uncompressed bytes per second of one core.
func BenchmarkGunzip(b *testing.B) {
	buf := make([]byte, inflate.BufferSize)
	decoders := []struct {
		name string
		run  func(w io.Writer, src io.Reader) error
	}{
		{"WriteTo", func(w io.Writer, src io.Reader) error {
			_, err := inflate.NewReader(src).WriteTo(w)
			return err
		}},
		{"Read", func(w io.Writer, src io.Reader) error { return copyFrom(w, inflate.NewReader(src)) }},
		{"Fill", func(w io.Writer, src io.Reader) error {
			z := inflate.NewReader(src)
			for {
				data, err := z.Fill(buf)
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				w.Write(data)
			}
		}},
		{"klauspost", func(w io.Writer, src io.Reader) error {
			z, err := kgzip.NewReader(src)
			if err != nil {
				return err
			}
			return copyFrom(w, z)
		}},
		{"std", func(w io.Writer, src io.Reader) error {
			z, err := gzip.NewReader(src)
			if err != nil {
				return err
			}
			return copyFrom(w, z)
		}},
	}
	for name, data := range corpora(b) {
		for _, d := range decoders {
			b.Run(name+"/"+d.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					var n discard
					if err := d.run(&n, bytes.NewReader(data)); err != nil {
						b.Fatal(err)
					}
					b.SetBytes(int64(n))
				}
			})
		}
	}
}

// BenchmarkPipeline measures the ways to hash what is inflated: in the same
// goroutine, in a second one that is given copies, and in a second one that is
// given the buffers themselves.
func BenchmarkPipeline(b *testing.B) {
	for name, data := range corpora(b) {
		z, src := inflate.NewReader(nil), bytes.NewReader(nil)
		measure := func(how string, run func() (int64, error)) {
			b.Run(name+"/"+how, func(b *testing.B) {
				for b.Loop() {
					src.Reset(data)
					z.Reset(src)
					n, err := run()
					if err != nil {
						b.Fatal(err)
					}
					b.SetBytes(n)
				}
			})
		}
		measure("WriteTo-fused", func() (int64, error) { return z.WriteTo(sha256.New()) })
		measure("Read-copies", func() (int64, error) {
			return handOver(4, inflate.BufferSize, func(buf []byte) ([]byte, error) {
				n, err := io.ReadFull(z, buf)
				if n > 0 {
					err = nil
				}
				return buf[:n], err
			})
		})
		for _, count := range []int{2, 4} {
			for _, size := range []int{128 << 10, 256 << 10, 512 << 10, 1 << 20} {
				measure(fmt.Sprintf("Fill-%dx%dk", count, size>>10), func() (int64, error) {
					return handOver(count, size, z.Fill)
				})
			}
		}
	}
}

// handOver fills a fixed set of buffers in one goroutine and hashes them in
// another; it returns how many bytes there were.
func handOver(count, size int, fill func([]byte) ([]byte, error)) (int64, error) {
	type chunk struct{ buf, data []byte }
	free, full := make(chan []byte, count), make(chan chunk, count)
	for range count {
		free <- make([]byte, size)
	}
	hashed := make(chan int64)
	go func() {
		h, n := sha256.New(), int64(0)
		for c := range full {
			h.Write(c.data)
			n += int64(len(c.data))
			free <- c.buf
		}
		hashed <- n
	}()
	for {
		buf := <-free
		data, err := fill(buf)
		if err != nil {
			close(full)
			n := <-hashed
			if err == io.EOF {
				err = nil
			}
			return n, err
		}
		full <- chunk{buf, data}
	}
}

// BenchmarkBlocks measures many short blocks: mostly the building of tables.
func BenchmarkBlocks(b *testing.B) {
	var parts [][]byte
	for plain := text(1 << 20); len(plain) >= 2000; plain = plain[2000:] {
		parts = append(parts, plain[:2000])
	}
	data := compress(b, 6, parts...)
	z, src := inflate.NewReader(nil), bytes.NewReader(nil)
	for b.Loop() {
		src.Reset(data)
		z.Reset(src)
		var n discard
		if _, err := z.WriteTo(&n); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n))
	}
}

// text returns n bytes of lines made from a vocabulary of 5000 words, common
// words being much more frequent than rare ones.
func text(n int) []byte {
	rng := rand.New(rand.NewPCG(7, 8))
	words := make([][]byte, 5000)
	for i := range words {
		w := make([]byte, 2+rng.IntN(9))
		for j := range w {
			w[j] = 'a' + byte(rng.IntN(26)*rng.IntN(26)/26)
		}
		words[i] = w
	}
	b := make([]byte, 0, n+100)
	for len(b) < n {
		for range 3 + rng.IntN(12) {
			x := rng.Float64()
			b = append(b, words[int(x*x*x*float64(len(words)))]...)
			b = append(b, ' ')
		}
		b[len(b)-1] = '\n'
	}
	return b[:n]
}
