package inflate_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// FuzzInflate compares with compress/gzip: the same bytes or an error from
// both, however the input and the output are cut. What data stands for depends
// on kind, so that the fuzzer gets past the checksums:
//
//	0: a gzip stream
//	1: deflate data, put into a gzip member with the right checksum
//	2: plain text, compressed; arg picks the level and a bit to change
//	3: the seed of a stream that no compressor makes, with a bit changed
func FuzzInflate(f *testing.F) {
	hello := compress(f, 6, []byte("hello, hello, hello, world"))
	f.Add(hello, uint8(0), uint32(0))
	f.Add(append(bytes.Clone(hello), hello...), uint8(0), uint32(12345))
	f.Add([]byte{0x1f, 0x8b, 8, 0x1f, 0, 0, 0, 0, 0, 0, 2, 0, 'x', 'y', 'n', 0, 'c', 0}, uint8(0), uint32(1))
	for seed := range uint64(20) {
		deflate, _ := randomStream(seed)
		f.Add(deflate[:min(len(deflate), 3000)], uint8(1), uint32(seed*7777777))
		f.Add(binary.LittleEndian.AppendUint64(nil, seed), uint8(3), uint32(seed*99999))
	}
	f.Add(bytes.Repeat([]byte("hello, world"), 100), uint8(2), uint32(0))
	f.Add(make([]byte, 70000), uint8(2), uint32(3))

	z := inflate.NewReader(nil) // one for all: Reset must leave nothing behind
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, arg uint32) {
		switch kind % 4 {
		case 1:
			data = wrap(data)
		case 2:
			data = compress(t, []int{0, 1, 6, 9, -2}[arg%5], data[:len(data)/2], data[len(data)/2:])
			flip(data, arg/5)
		case 3:
			data = gzipOf(randomStream(binary.LittleEndian.Uint64(append(data, make([]byte, 8)...))))
			flip(data, arg)
		}
		compare(t, z, data, arg)
	})
}

// wrap puts deflate data, up to its end if it has one, into a gzip member.
func wrap(deflate []byte) []byte {
	src := bytes.NewReader(deflate)
	plain, err := io.ReadAll(flate.NewReader(src))
	if err != nil {
		return gzipOf(deflate, nil)
	}
	return gzipOf(deflate[:len(deflate)-src.Len()], plain)
}

// flip changes a bit of data, or none for every other value of arg.
func flip(data []byte, arg uint32) {
	if at := uint64(arg / 2); arg%2 == 1 {
		data[at/8%uint64(len(data))] ^= 1 << (at % 8)
	}
}
