package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Retry is how often and how fast a failure is tried again. The zero value is ten
// times, after 250 ms doubling to 8 s with jitter.
type Retry struct {
	// Count is how many failures in a row without a byte gained are followed
	// by another try, and likewise failures by too low a rate, even with bytes
	// gained (see Slow). 0 means 10, a negative count means none.
	Count int
	// Delay is a fixed wait in place of the back-off.
	Delay time.Duration
	// Patient has names that do not exist and servers that refuse connections tried
	// as often as Count says. Otherwise they get one more try, unless they have
	// answered before: what is mistyped is told at once, and an outage of a second
	// is held out.
	Patient bool
}

const (
	defaultRetries = 10
	firstDelay     = 250 * time.Millisecond
	lastDelay      = 8 * time.Second
	// retryAfterCap is the longest wait that a host may ask for. A host that
	// wants more is given up, so that a pull ends and says so instead of
	// sleeping for a day.
	retryAfterCap = 60 * time.Second
	// A brief failure is tried again once, after more than a second and less than
	// one and a half: a server that restarts in a second is back by then, and what
	// is wrong for good is told within two.
	briefDelay  = 1200 * time.Millisecond
	briefJitter = 250 * time.Millisecond
)

func (p Retry) count() int {
	switch {
	case p.Count == 0:
		return defaultRetries
	case p.Count < 0:
		return 0
	}
	return p.Count
}

// wait is the pause before try n, counted from 1. The jitter is between half
// and all of the back-off, so that the layers of an image do not come back as
// one crowd.
func (p Retry) wait(n int) time.Duration {
	if p.Delay > 0 {
		return p.Delay
	}
	d := lastDelay
	if n < 6 { // 250 ms doubled five times is the last delay
		d = firstDelay << max(n-1, 0)
	}
	return d/2 + rand.N(d/2)
}

// Retryable reports whether what failed with err may succeed when it is tried
// again: now, elsewhere, or after a wait that is short enough.
func Retryable(err error) bool {
	if round, ok := errors.AsType[*roundError](err); ok {
		return round.retryable()
	}
	if e, ok := errors.AsType[*source.Error](err); ok && e.RetryAfter > retryAfterCap {
		return false
	}
	f, ok := errors.AsType[*fault](err)
	return ok && f.retry
}

// retryable reports whether any host may get better, unless the reference's own
// host has given an answer about a tag that no wait will change. Content that is named
// by its digest may still come from another host.
func (e *roundError) retryable() bool {
	if own := e.decisive(); !own.Mirror && own.Digest == "" && !Retryable(own) && !errdefs.IsResourceExhausted(own) {
		return false
	}
	for _, err := range e.errs {
		if Retryable(err) {
			return true
		}
	}
	return false
}

// Backoff waits before try n of what failed with cause, where n counts from 1
// the failures without a byte gained. It returns cause when it cannot get
// better or when the budget is used up, and the cause of ctx when that ends.
func (r *Registry) Backoff(ctx context.Context, n int, cause error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !Retryable(cause) {
		return cause
	}
	if n > r.tries(cause) {
		r.noteAbsent(cause)
		return cause
	}
	wait := max(r.opts.Retry.waitFor(n, cause), retryAfter(cause))
	r.emitRetry(n, wait, cause)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// tries is how many further tries cause deserves. What was waited for in vain for
// one image of a call is not waited for again.
func (r *Registry) tries(cause error) int {
	p := r.opts.Retry
	switch {
	case p.Patient || !isBrief(cause):
		return p.count()
	case slices.ContainsFunc(hopes(cause), func(e *source.Error) bool { return !r.absent.has(faultOf(e).contacted) }):
		return min(1, p.count())
	}
	return 0
}

// noteAbsent remembers the servers that were not there for cause, which need not be
// the hosts that were asked: a proxy, a token server, the target of a redirect.
func (r *Registry) noteAbsent(cause error) {
	if isBrief(cause) {
		for _, e := range hopes(cause) {
			r.absent.note(faultOf(e).contacted)
		}
	}
}

// hopes are the errors in err after which another try may succeed, one for each host
// that was asked.
func hopes(err error) []*source.Error {
	if round, ok := errors.AsType[*roundError](err); ok {
		return slices.DeleteFunc(slices.Clone(round.errs), func(e *source.Error) bool { return !Retryable(e) })
	}
	if e, ok := errors.AsType[*source.Error](err); ok && Retryable(e) {
		return []*source.Error{e}
	}
	return nil
}

// waitFor is the pause before try n of what failed with cause.
func (p Retry) waitFor(n int, cause error) time.Duration {
	if p.Patient || p.Delay > 0 || !isBrief(cause) {
		return p.wait(n)
	}
	return briefDelay + rand.N(briefJitter)
}

// isBrief reports whether all that may get better of err is settled by one more
// try.
func isBrief(err error) bool {
	return !slices.ContainsFunc(hopes(err), func(e *source.Error) bool { return !faultOf(e).brief })
}

// retryAfter is the wait that the hosts ask for: the shortest one, because the
// first host that may be asked again is asked.
func retryAfter(err error) time.Duration {
	shortest := retryAfterCap
	for _, e := range hopes(err) {
		shortest = min(shortest, e.RetryAfter)
	}
	return shortest
}

func (r *Registry) emitRetry(n int, wait time.Duration, cause error) {
	event := progress.Event{Kind: progress.Retry, Attempt: n, Wait: wait, Reason: Reason(cause), Err: cause}
	if e, ok := errors.AsType[*source.Error](cause); ok {
		event.Ref, event.Digest, event.Host = e.Ref, e.Digest, e.Host
	}
	r.opts.Progress.Emit(event)
}
