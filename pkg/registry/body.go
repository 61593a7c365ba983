package registry

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// errClosed ends the context of a request whose answer is not needed any more.
var errClosed = errors.New("answer closed")

// wholeStalls is how many stall time-outs the body of an answer may take from
// its beginning to its end, unless it is that of a blob.
const wholeStalls = 2

// watchedBody is a body that ends when it stalls: when one Read waits longer than
// the limit, when Reads that together waited as long brought less than the rate,
// or when it is not whole in time. The time between Reads is the reader's own
// and counts for the whole alone. What is counted is what comes out of a content
// coding.
type watchedBody struct {
	src    io.Reader // the body, or what decodes it
	body   io.Closer
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	whole  *time.Timer
	limit  time.Duration
	rate   int64

	waited time.Duration
	came   int64
}

// watchBody takes over body and cancel, which ends ctx, the context of the
// request that body belongs to.
func watchBody(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, limit time.Duration, rate int64) *watchedBody {
	w := &watchedBody{src: body, body: body, ctx: ctx, cancel: cancel, limit: limit, rate: rate}
	w.timer = time.AfterFunc(limit, func() { cancel(stalledf("no byte for %s", limit)) })
	w.timer.Stop()
	w.whole = time.AfterFunc(wholeStalls*limit, func() { cancel(stalledf("not complete after %s", wholeStalls*limit)) })
	return w
}

// takeTime lets the body of a blob take as long as its bytes go on coming.
func takeTime(resp *http.Response) {
	if w, ok := resp.Body.(*watchedBody); ok {
		w.whole.Stop()
	}
}

func (w *watchedBody) Read(p []byte) (int, error) {
	start := time.Now()
	w.timer.Reset(w.limit)
	n, err := w.src.Read(p)
	w.timer.Stop()
	if err == nil {
		return n, w.measure(n, time.Since(start))
	}
	if errors.Is(err, io.EOF) {
		return n, err
	}
	if cause := context.Cause(w.ctx); cause != nil {
		return n, cause
	}
	return n, err
}

// measure judges the rate over each span of waiting that is as long as the
// limit.
func (w *watchedBody) measure(n int, waited time.Duration) error {
	w.came += int64(n)
	w.waited += waited
	if w.waited < w.limit {
		return nil
	}
	if rate := float64(w.came) / w.waited.Seconds(); rate < float64(w.rate) {
		err := stalledf("%w: %.0f bytes per second over %s, want %d", errSlow, rate, w.limit, w.rate)
		w.cancel(err)
		return err
	}
	w.came, w.waited = 0, 0
	return nil
}

// Close implements io.Closer.
func (w *watchedBody) Close() error {
	w.whole.Stop()
	err := w.body.Close()
	w.cancel(errClosed)
	return err
}

// isEncoded reports whether the bytes of an answer are not the blob itself.
func isEncoded(resp *http.Response) bool {
	coding := contentCoding(resp)
	return coding != "" && coding != "identity"
}

func contentCoding(resp *http.Response) string {
	return strings.TrimPrefix(strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))), "x-") // of old servers
}

// zstdWindow is the largest window that RFC 9659 allows for a content coding.
const zstdWindow = 8 << 20

// decode has the body of resp yield what its content coding, although none was
// asked for, stands for. The reader bounds what comes out, of which it wants at
// most size bytes; what that may take on the wire is bounded here, because a
// coding can go on for ever and yield nothing.
//
// Objects in storage are often labelled with the coding that they themselves have:
// a gzipped layer is no layer that was gzipped on its way. What the bytes begin with
// decides, and itself is the coding of what is wanted, empty if it has none.
func decode(resp *http.Response, size int64, itself string) {
	coding, known := codings()[contentCoding(resp)]
	w, ok := resp.Body.(*watchedBody)
	if !isEncoded(resp) || !known || !ok {
		return
	}
	d := &decoder{coding: coding, nested: itself == contentCoding(resp), in: &encoded{src: w.src, most: encodedBound(size)}}
	w.src, w.body = d, d.closing(w.body)
}

// codingOf is the content coding that a blob of this media type has itself.
func codingOf(mediaType string) string {
	for _, coding := range []string{"gzip", "zstd"} {
		if strings.HasSuffix(mediaType, "+"+coding) || strings.HasSuffix(mediaType, ".tar."+coding) {
			return coding
		}
	}
	return ""
}

// encodedBound is how many bytes size bytes may take in a content coding. Stored
// without compression they take an eighth more in blocks of 40 bytes, which is a
// block for each flush of a server that hardly writes.
func encodedBound(size int64) int64 { return size + size/8 + 64<<10 }

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
		e.err = corruptf("short", "content coding goes on for more than %d bytes", e.most)
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
	return n, decodeFault(err)
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

// decodeFault distinguishes a broken stream, which is wrong bytes, from a broken
// connection.
func decodeFault(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, zstd.ErrMagicMismatch) {
		return corruptf("digest", "undoing the content coding: %w", err)
	}
	return err
}
