package unpack

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// Open returns what a layer holds, for whoever reads one without
// unpacking it: inflated if its first bytes say that it is compressed. Errors
// of decoders are those of a malformed layer, errdefs.ErrInvalidArgument.
func Open(src io.Reader) (io.ReadCloser, error) {
	o := &origin{src: src}
	peek := bufio.NewReaderSize(o, 64<<10)
	magic, err := peek.Peek(inflate.MagicSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch inflate.Sniff(magic) {
	case inflate.Gzip:
		return io.NopCloser(&judged{inflate.NewReader(peek), o}), nil
	case inflate.Zstd:
		z, err := zstd.NewReader(peek, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, o.judge(err)
		}
		return struct {
			io.Reader
			io.Closer
		}{&judged{z, o}, z.IOReadCloser()}, nil
	}
	return io.NopCloser(peek), nil
}

// judged is a decoder whose errors say whose they are.
type judged struct {
	io.Reader
	o *origin
}

// Read implements io.Reader.
func (j *judged) Read(p []byte) (int, error) {
	n, err := j.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = j.o.judge(err)
	}
	return n, err
}
