package registry

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/registry/coding"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// roundError holds why each of several hosts failed in one round. It unwraps
// to the error that decides: that of the reference's own host if it was asked,
// because a mirror that lacks something says nothing about the image.
type roundError struct{ errs []*source.Error }

func (e *roundError) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e *roundError) Unwrap() error { return e.decisive() }

func (e *roundError) decisive() *source.Error {
	best := e.errs[0]
	for _, err := range e.errs {
		if !err.Mirror {
			return err
		}
		if !errdefs.IsNotFound(err) {
			best = err
		}
	}
	return best
}

// joinRound returns the errors of a round as one. There is at least one.
func joinRound(errs []*source.Error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &roundError{errs: errs}
}

// fault is a failure whose reason, class and prospects are known where it is
// made, so that none has to be guessed from a text later.
type fault struct {
	reason      string // see Reason
	class       error  // of errdefs
	retry       bool   // another try may succeed
	unreachable bool   // there was no connection to the host
	brief       bool   // one more try is enough, unless more are asked for; retry is set
	contacted   string // the server that is not there, of a brief fault
	hint        string // what to do about it; empty if that depends on who asks
	err         error
}

func (f *fault) Error() string   { return f.err.Error() }
func (f *fault) Unwrap() []error { return []error{f.class, f.err} }
func (f *fault) Hint() string    { return f.hint }

// costly faults took a time-out, or will not go away within this run.
func (f *fault) costly() bool { return f.unreachable || f.reason == "stall" }

func faultf(reason string, class error, retry bool, format string, args ...any) *fault {
	return &fault{reason: reason, class: class, retry: retry, err: fmt.Errorf(format, args...)}
}

func (f *fault) withHint(hint string) *fault {
	f.hint = hint
	return f
}

func malformedf(format string, args ...any) *fault {
	return faultf("", errdefs.ErrInvalidArgument, false, format, args...)
}

func unauthenticatedf(format string, args ...any) *fault {
	return faultf("", errdefs.ErrUnauthenticated, false, format, args...)
}

// corruptf is the fault of bytes that are not those asked for. Another try may bring
// the right ones; how often is decided by the count of blames.
func corruptf(reason, format string, args ...any) *fault {
	return faultf(reason, errdefs.ErrDataLoss, true, format, args...)
}

func stalledf(format string, args ...any) *fault {
	return faultf("stall", errdefs.ErrUnavailable, true, format, args...)
}

// errSlow is in the error of a body that came too slowly.
var errSlow = errors.New("too slow")

// Slow reports whether err is that of a body that brought less than
// Options.MinRate. A host may go on like that for ever.
func (*Registry) Slow(err error) bool { return errors.Is(err, errSlow) }

// Reason returns in one word why a request failed with err: reset, stall,
// status, rate-limit, short, digest, refused, tls or dns. It is empty if err is
// none of these.
func Reason(err error) string {
	if f, ok := errors.AsType[*fault](err); ok {
		return f.reason
	}
	return ""
}

// readFault classifies an error in the middle of a body.
func readFault(err error) *fault {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return faultf("reset", errdefs.ErrUnavailable, true, "connection closed in the body")
	}
	if errors.Is(err, coding.ErrEndless) {
		return corruptf("short", "%w", err)
	}
	if errors.Is(err, coding.ErrBroken) {
		return corruptf("digest", "%w", err)
	}
	return networkFault(err)
}

// faultOf returns the fault in err, nil if there is none.
func faultOf(err error) *fault {
	f, _ := errors.AsType[*fault](err)
	return f
}
