package pipeline

import (
	"bufio"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// peekSize is the size of the buffer in which the magic bytes of a layer are
// looked at.
const peekSize = 64 << 10

// zstdWindow is the largest window of zstd, which a decoder needs as memory: that
// of zstd's level 22 and the most that the program zstd takes without being asked
// to. containerd takes windows of 512 MiB.
const zstdWindow = 128 << 20

// compressed is a layer whose first bytes have been looked at, since media types
// cannot be relied on.
type compressed struct {
	in     *bufio.Reader
	format inflate.Format
	origin *origin
}

func sniff(src io.Reader) (compressed, error) {
	o := &origin{src: src}
	peek := bufio.NewReaderSize(o, peekSize)
	magic, err := peek.Peek(inflate.MagicSize)
	if err != nil && err != io.EOF {
		return compressed{}, err
	}
	return compressed{peek, inflate.Sniff(magic), o}, nil
}

// origin is where the bytes to decompress come from. It remembers why they
// ended, which distinguishes a malformed stream from one that did not arrive.
type origin struct {
	src io.Reader
	err error // other than io.EOF
}

// Read implements io.Reader.
func (o *origin) Read(p []byte) (int, error) {
	n, err := o.src.Read(p)
	if err != nil && err != io.EOF {
		o.err = err
	}
	return n, err
}

// classify returns the error of the source if that is what a decoder fell over,
// and otherwise an errdefs.ErrInvalidArgument with the error of the decoder.
func (o *origin) classify(err error) error {
	if o.err != nil {
		return o.err
	}
	return failure.New(errdefs.ErrInvalidArgument, "inflating: %w", err)
}

// decompress copies src to q, inflated if it is compressed, and returns the
// number of bytes that came out. A decoder of zstd uses as many goroutines as
// decoders.
func decompress(src io.Reader, q *hashed, decoders int) (int64, error) {
	c, err := sniff(src)
	if err != nil {
		return 0, err
	}
	switch c.format {
	case inflate.Gzip:
		return inflateInto(q, c)
	case inflate.Zstd:
		return unzstdInto(q, c, decoders)
	}
	return copyInto(q, c.in, c.origin)
}

// inflateInto decodes straight into the queue's buffers.
func inflateInto(q *hashed, c compressed) (n int64, err error) {
	z := inflate.NewReader(c.in)
	for {
		buf, err := q.buffer()
		if err != nil {
			return n, err
		}
		data, err := z.Fill(buf)
		if len(data) > 0 {
			n += int64(len(data))
			q.send(data, buf)
			continue
		}
		q.free <- buf
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, c.origin.classify(err)
		}
	}
}

func unzstdInto(q *hashed, c compressed, decoders int) (int64, error) {
	z, err := zstd.NewReader(c.in, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(false), zstd.WithDecoderConcurrency(decoders))
	if err != nil {
		return 0, c.origin.classify(err)
	}
	defer z.Close()
	return copyInto(q, z, c.origin)
}

func copyInto(q *hashed, src io.Reader, o *origin) (n int64, err error) {
	for {
		buf, err := q.buffer()
		if err != nil {
			return n, err
		}
		m, err := fill(src, buf)
		n += int64(m)
		q.send(buf[:m], buf)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, o.classify(err)
		}
	}
}

// fill is io.ReadFull, which cannot be used here: its io.ErrUnexpectedEOF for an
// end after some bytes is also what a decoder returns for a stream that breaks
// off.
func fill(src io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = src.Read(buf[n:])
		n += m
	}
	return n, err
}

// Open returns what a layer inflates to, for callers that read one without a
// Pipeline: src itself if its first bytes are not those of a compressed layer.
// Errors of decoders are those of a malformed layer, errdefs.ErrInvalidArgument.
func Open(src io.Reader) (io.ReadCloser, error) {
	c, err := sniff(src)
	if err != nil {
		return nil, err
	}
	switch c.format {
	case inflate.Gzip:
		return io.NopCloser(&classified{inflate.NewReader(c.in), c.origin}), nil
	case inflate.Zstd:
		z, err := zstd.NewReader(c.in, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, c.origin.classify(err)
		}
		return struct {
			io.Reader
			io.Closer
		}{&classified{z, c.origin}, z.IOReadCloser()}, nil
	}
	return io.NopCloser(c.in), nil
}

// classified is a decoder whose errors its origin classifies.
type classified struct {
	io.Reader
	origin *origin
}

// Read implements io.Reader.
func (c *classified) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = c.origin.classify(err)
	}
	return n, err
}
