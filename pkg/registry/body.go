package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/registry/allowance"
	"github.com/containerd-pull/containerd-pull/pkg/registry/coding"
)

// errClosed ends the context of a request whose answer is not needed any more.
var errClosed = errors.New("answer closed")

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
	wait   *allowance.Wait
	limit  time.Duration
	rate   int64

	waited time.Duration
	came   int64
}

// watchBody takes over body and cancel, which ends ctx, the context of the
// attempt that body belongs to.
func (a *attempt) watchBody(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser) *watchedBody {
	limit := a.r.opts.StallTimeout
	w := &watchedBody{src: body, body: body, ctx: ctx, cancel: cancel, wait: a.wait, limit: limit, rate: a.r.opts.MinRate}
	w.timer = time.AfterFunc(limit, func() { cancel(stalledf("no byte for %s", limit)) })
	w.timer.Stop()
	return w
}

// takeTime lets the body of a blob take as long as its bytes go on coming, unless it is a
// document.
func takeTime(resp *http.Response) {
	if w, ok := resp.Body.(*watchedBody); ok {
		w.wait.TakeTime()
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
	w.wait.End()
	err := w.body.Close()
	w.cancel(errClosed)
	return err
}

// decode has the body of resp yield at most size bytes of what its content coding
// stands for; itself is the coding of what is wanted.
func decode(resp *http.Response, size int64, itself string) {
	if w, ok := resp.Body.(*watchedBody); ok && coding.Known(resp) {
		w.src, w.body = coding.Undo(coding.Of(resp), w.src, w.body, size, itself)
	}
}
