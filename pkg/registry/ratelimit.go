package registry

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/log"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// rateLimit is what an answer says about the requests that a host still allows.
type rateLimit struct {
	left, of int           // of is 0 if it is not known
	window   time.Duration // 0 if it is not known
}

// readRateLimit reads RateLimit-Remaining and RateLimit-Limit in the form of Docker
// Hub: a number, and the window in seconds as the parameter w.
func readRateLimit(header http.Header) (l rateLimit, ok bool) {
	left, window, ok := readQuota(header.Get("RateLimit-Remaining"))
	if !ok {
		return rateLimit{}, false
	}
	l = rateLimit{left: left, window: window}
	l.of, _, _ = readQuota(header.Get("RateLimit-Limit"))
	return l, true
}

func readQuota(value string) (n int, window time.Duration, ok bool) {
	number, params, _ := strings.Cut(value, ";")
	quota, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
	if err != nil {
		return 0, 0, false
	}
	for param := range strings.SplitSeq(params, ";") {
		if text, is := strings.CutPrefix(strings.TrimSpace(param), "w="); is {
			secs, _ := strconv.ParseUint(text, 10, 31) // 0 is not known
			window = time.Duration(secs) * time.Second
		}
	}
	return int(quota), window, true
}

// isNear reports whether the limit is soon reached: a tenth of it is left, or ten
// requests where it is not known.
func (l rateLimit) isNear() bool {
	if l.of == 0 {
		return l.left <= 10
	}
	return l.left <= l.of/10
}

// String is what is left in words.
func (l rateLimit) String() string {
	text := fmt.Sprint(l.left)
	if l.of > 0 {
		text += fmt.Sprintf(" of %d", l.of)
	}
	text += " pulls are left"
	if l.window > 0 {
		text += " in a window of " + l.window.String()
	}
	return text
}

// noteRateLimit warns of a limit that is near, and logs every limit for debugging.
func (r *Registry) noteRateLimit(ctx context.Context, h *host, c call, header http.Header) {
	l, ok := readRateLimit(header)
	if !ok {
		return
	}
	log.G(ctx).Debugf("rate limit of %s: %s", h.Name, l)
	if c.byTag() && l.isNear() {
		r.opts.Progress.Emit(progress.Event{Kind: progress.Warning, Ref: c.ref.Name, Message: fmt.Sprintf("the rate limit of %s is near: %s", h.Name, l)})
	}
}
