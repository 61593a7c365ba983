//go:build klauspost

package inflate

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// A Reader decompresses a gzip stream of one or more members. It reads ahead:
// the position of the source after the end of the gzip data is undefined. A
// Reader must not be used by several goroutines at once. Reset makes it usable
// again with the memory it has.
type Reader struct {
	src    *bufio.Reader
	member *gzip.Reader // nil until the first member
	inside bool         // member has more to give
	begun  bool         // a member header has been seen
	err    error
	buf    []byte // of WriteTo
}

// NewReader returns a Reader that decompresses src. A src of nil makes a
// Reader that needs a Reset first.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: bufio.NewReaderSize(src, 128<<10)}
}

// Reset makes z ready to decompress src, whatever state it is in, and keeps
// its buffers. Reset(nil) gives up the reference to the source.
func (z *Reader) Reset(src io.Reader) {
	z.src.Reset(src)
	z.inside, z.begun, z.err = false, false, nil
}

// Read implements io.Reader.
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for z.err == nil {
		if !z.inside {
			z.err = z.open()
			continue
		}
		n, err := z.member.Read(p)
		if err == io.EOF {
			z.inside, err = false, nil
		}
		z.err = translate(err)
		if n > 0 {
			return n, nil
		}
	}
	return 0, z.err
}

// WriteTo implements io.WriterTo.
func (z *Reader) WriteTo(w io.Writer) (int64, error) {
	if z.buf == nil {
		z.buf = make([]byte, BufferSize)
	}
	// Neither side may have another way to copy than this buffer.
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{z}, z.buf)
}

// Fill decodes into buf until buf is full or the stream ends, and returns the
// part of buf that holds the data. Data and error never come together. The
// Reader uses buf, all of it as scratch space, only until Fill returns; from
// then on data and buf are the caller's alone. A buf shorter than
// MinBufferSize is an io.ErrShortBuffer.
func (z *Reader) Fill(buf []byte) (data []byte, err error) {
	if len(buf) < MinBufferSize {
		return nil, io.ErrShortBuffer
	}
	n := 0
	for n < len(buf) && err == nil {
		var m int
		m, err = z.Read(buf[n:])
		n += m
	}
	if n == 0 {
		return nil, err
	}
	return buf[:n], nil
}

// open reads the header of the next member, or finds the end of the stream.
// Members are read one by one because the library takes no members at all for
// a stream, and an end within a header for the end of the stream.
func (z *Reader) open() error {
	if _, err := z.src.Peek(1); err != nil {
		if z.begun {
			return err
		}
		return unexpected(err)
	}
	z.begun, z.inside = true, true
	if z.member == nil {
		z.member = new(gzip.Reader)
	}
	if err := z.member.Reset(z.src); err != nil {
		return translate(unexpected(err))
	}
	z.member.Multistream(false)
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// translate gives the errors of the library the names of this package.
func translate(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, gzip.ErrHeader):
		return ErrHeader
	case errors.Is(err, gzip.ErrChecksum):
		return ErrChecksum
	case errors.As(err, &corrupt):
		return ErrCorrupt
	}
	return err
}
