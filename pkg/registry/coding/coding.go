// Package coding undoes the content codings of answers (Content-Encoding), although none
// was asked for, and finds out where a label is wrong: size and digest decide what bytes
// are, and pkg/registry checks both.
//
// Start reading at Undo.
package coding

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Errors of a Read: bytes that are not those of the blob, either way.
var (
	ErrEndless = errors.New("content coding goes on")
	ErrBroken  = errors.New("undoing the content coding")
)

// IsEncoded reports whether the bytes of an answer are not the blob itself.
func IsEncoded(resp *http.Response) bool {
	name := Of(resp)
	return name != "" && name != "identity"
}

// Of is the coding that an answer says it has, in lower case; empty if it says none.
func Of(resp *http.Response) string {
	return strings.TrimPrefix(strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))), "x-") // of old servers
}

// zstdWindow is the largest window that RFC 9659 allows for a content coding.
const zstdWindow = 8 << 20

// Undo returns what reads src, the body of an answer in a coding that is Known, as what
// the coding stands for, and what closes both. The reader wants at most size bytes;
// what those may take on the wire is bounded here, because a coding can go on for ever
// and yield nothing.
//
// Objects in storage are often labelled with the coding that they themselves have:
// a gzipped layer is no layer that was gzipped on its way. What the bytes begin with
// decides, and itself is the coding of what is wanted, empty if it has none.
func Undo(name string, src io.Reader, body io.Closer, size int64, itself string) (io.Reader, io.Closer) {
	d := &decoder{coding: codings()[name], nested: itself == name, in: &encoded{src: src, most: bound(size)}}
	return d, d.closing(body)
}

// Known reports whether the coding of an answer can be undone.
func Known(resp *http.Response) bool {
	_, known := codings()[Of(resp)]
	return known
}

// OfBlob is the content coding that a blob of this media type has itself.
func OfBlob(mediaType string) string {
	for _, coding := range []string{"gzip", "zstd"} {
		if strings.HasSuffix(mediaType, "+"+coding) || strings.HasSuffix(mediaType, ".tar."+coding) {
			return coding
		}
	}
	return ""
}

// bound is how many bytes size bytes may take in a content coding. Stored
// without compression they take an eighth more in blocks of 40 bytes, which is a
// block for each flush of a server that hardly writes.
func bound(size int64) int64 { return size + size/8 + 64<<10 }

// coding is a content coding that is understood.
type coding struct {
	magic string // that its bytes begin with
	ahead int    // bytes of it that yield at least the first four decoded ones
	open  func(io.Reader) (io.ReadCloser, error)
}

func codings() map[string]coding {
	return map[string]coding{
		"gzip": {"\x1f\x8b", 4 << 10, func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
		"zstd": {"\x28\xb5\x2f\xfd", 132 << 10, func(r io.Reader) (io.ReadCloser, error) { // a block, and its frame
			z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return nil, err
			}
			return z.IOReadCloser(), nil
		}},
	}
}

// begins reports whether r begins like bytes in the coding.
func (c coding) begins(r *bufio.Reader) bool {
	head, _ := r.Peek(len(c.magic)) // the error comes with the bytes
	return string(head) == c.magic
}

// isTwice reports whether what r holds is in the coding again once it is decoded.
func (c coding) isTwice(r *bufio.Reader) bool {
	ahead, _ := r.Peek(c.ahead) // fewer, if there are no more
	out, err := c.open(bytes.NewReader(ahead))
	if err != nil {
		return false
	}
	defer out.Close()
	head := make([]byte, len(c.magic))
	_, err = io.ReadFull(out, head)
	return err == nil && string(head) == c.magic
}

// encoded is a body as it came, up to a bound.
type encoded struct {
	src  io.Reader
	came int64
	most int64
	err  error // other than io.EOF
}

// Read implements io.Reader.
func (e *encoded) Read(p []byte) (int, error) {
	if e.came >= e.most {
		e.err = fmt.Errorf("%w for more than %d bytes", ErrEndless, e.most)
		return 0, e.err
	}
	n, err := e.src.Read(p[:min(int64(len(p)), e.most-e.came)])
	e.came += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

// decoder undoes a content coding. It looks at the bytes with the first Read, so that
// the wait for them is watched as well.
type decoder struct {
	in     *encoded
	coding coding
	nested bool // what is wanted has the coding itself
	out    io.ReadCloser
}

// Read implements io.Reader. What went wrong with the body itself is why its
// coding cannot be undone.
func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case d.in.err != nil:
		return n, d.in.err
	}
	return n, decodeError(err)
}

func (d *decoder) read(p []byte) (int, error) {
	if d.out == nil {
		if err := d.begin(); err != nil {
			return 0, err
		}
	}
	return d.out.Read(p)
}

// begin decides whether the label is right.
func (d *decoder) begin() error {
	r := bufio.NewReaderSize(d.in, d.coding.ahead)
	if !d.coding.begins(r) || d.nested && !d.coding.isTwice(r) {
		d.out = io.NopCloser(r)
		return nil
	}
	out, err := d.coding.open(r)
	if err == nil {
		d.out = out
	}
	return err
}

// closing returns a closer of the decoder and of the body below it.
func (d *decoder) closing(body io.Closer) io.Closer {
	return closerFunc(func() error {
		if d.out != nil {
			_ = d.out.Close() // its body is not read to the end
		}
		return body.Close()
	})
}

type closerFunc func() error

// Close implements io.Closer.
func (f closerFunc) Close() error { return f() }

// decodeError distinguishes a broken stream, which is wrong bytes, from a broken
// connection.
func decodeError(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, zstd.ErrMagicMismatch) {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return err
}
