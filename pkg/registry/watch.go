package registry

import (
	"context"
	"errors"
	"io"
	"time"
)

// errClosed ends the context of a request whose answer is not needed any more.
var errClosed = errors.New("answer closed")

// watch is a body that ends when it stalls: when one Read waits longer than
// the limit, or when Reads that together waited as long brought less than the
// rate. The time between Reads is the reader's own and never counts.
type watch struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
	rate   int64

	waited time.Duration
	came   int64
}

// newWatch takes over body and cancel, which ends ctx, the context of the
// request that body belongs to.
func newWatch(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, limit time.Duration, rate int64) *watch {
	w := &watch{ReadCloser: body, ctx: ctx, cancel: cancel, limit: limit, rate: rate}
	w.timer = time.AfterFunc(limit, func() { cancel(stalledf("no byte for %s", limit)) })
	w.timer.Stop()
	return w
}

func (w *watch) Read(p []byte) (int, error) {
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
func (w *watch) measure(n int, waited time.Duration) error {
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

func (w *watch) Close() error {
	err := w.ReadCloser.Close()
	w.cancel(errClosed)
	return err
}
