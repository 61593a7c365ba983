package registry

import (
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

// watchedBody is a body that ends when it stalls: when one Read waits longer than
// the limit, or when Reads that together waited as long brought less than the
// rate. The time between Reads is the reader's own and never counts.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
	rate   int64

	waited time.Duration
	came   int64
}

// watchBody takes over body and cancel, which ends ctx, the context of the
// request that body belongs to.
func watchBody(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, limit time.Duration, rate int64) *watchedBody {
	w := &watchedBody{ReadCloser: body, ctx: ctx, cancel: cancel, limit: limit, rate: rate}
	w.timer = time.AfterFunc(limit, func() { cancel(stalledf("no byte for %s", limit)) })
	w.timer.Stop()
	return w
}

func (w *watchedBody) Read(p []byte) (int, error) {
	start := time.Now()
	w.timer.Reset(w.limit)
	n, err := w.ReadCloser.Read(p)
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

func (w *watchedBody) Close() error {
	err := w.ReadCloser.Close()
	w.cancel(errClosed)
	return err
}

// isEncoded reports whether the bytes of an answer are not the blob itself.
func isEncoded(resp *http.Response) bool {
	coding := strings.TrimSpace(resp.Header.Get("Content-Encoding"))
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// zstdWindow is the largest window that RFC 9659 allows for a content coding.
const zstdWindow = 8 << 20

// decode undoes a content coding, although none was asked for. What comes out is
// bounded by the reader of the result.
func decode(resp *http.Response) (io.ReadCloser, error) {
	if !isEncoded(resp) {
		return resp.Body, nil
	}
	coding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	switch coding {
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, decodeFault(err)
		}
		return &decoded{src: z, release: func() {}, body: resp.Body}, nil
	case "zstd":
		z, err := zstd.NewReader(resp.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, decodeFault(err)
		}
		return &decoded{src: z, release: z.Close, body: resp.Body}, nil
	}
	return nil, malformedf("answer with unknown content coding %q", coding)
}

// decoded reads through a decoder and closes what is below it.
type decoded struct {
	src     io.Reader
	release func()
	body    io.Closer
}

func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.src.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = decodeFault(err)
	}
	return n, err
}

func (d *decoded) Close() error {
	d.release()
	return d.body.Close()
}

// decodeFault distinguishes a broken stream, which is wrong bytes, from a broken
// connection.
func decodeFault(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, zstd.ErrMagicMismatch) {
		return corruptf("digest", "undoing the content coding: %w", err)
	}
	return err
}
