// Package pull is the story of a pull: a Request becomes a Plan, a Plan
// becomes a Result.
//
//	Request ──Plan──▶ Plan ──Run──▶ Result
//
// Plan asks the registry for manifests and configs, lets verifiers judge the
// target, and says what the store lacks; it changes nothing. Run fetches and
// unpacks under a lease, checks what came of it, and writes the image record
// last: a pull that fails leaves the record of before, or none. Prepare and Finish
// are the same by the policy of the request, which may be that no registry is asked.
//
// Read Run first: it calls the chapters begin.go, fetch.go, mend.go and
// register.go in their order. What is missing is found out in survey.go, and
// nowhere else. What an image is made of is in pkg/image, how a blob is fetched
// in pkg/fetch, how layers become snapshots in pkg/unpack.
package pull

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// Puller pulls images from registries into one store.
type Puller struct {
	Store    *store.Store
	Source   source.Source
	Verifier trust.Verifier // nil allows everything; verifiers of the daemon count in any case
	Progress progress.Sink
	Limits   Limits
	// Scheduler is what this pull shares with others that are at work at the same time,
	// into the same store and with the same Limits; nil means that there are none.
	Scheduler *Scheduler
}

// Stage is where a pull failed.
type Stage string

const (
	StageResolve  Stage = "resolve"
	StageVerify   Stage = "verify"
	StagePlan     Stage = "plan"
	StageFetch    Stage = "fetch" // and unpack: they are one
	StageRegister Stage = "register"
)

// Error is a pull that failed. Host and Digest are set when they are known.
type Error struct {
	Stage  Stage
	Ref    string
	Host   string
	Digest digest.Digest
	Err    error
}

func (e *Error) Error() string {
	if e.Stage == StageResolve || errors.As(e.Err, new(*trust.Refusal)) { // they name the reference already
		return e.Err.Error()
	}
	return fmt.Sprintf("pulling %s: %v", e.Ref, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// fail gives an error its place; that of a refusal is always StageVerify.
func (p *Puller) fail(ctx context.Context, stage Stage, ref source.Ref, err error) error {
	if err == nil {
		return nil
	}
	err = store.WithCause(ctx, store.WithErrno(err))
	e := &Error{Stage: stage, Ref: ref.Name, Err: err}
	if asked, ok := errors.AsType[*source.Error](err); ok {
		e.Host, e.Digest = asked.Host, asked.Digest
	}
	if refused, ok := errors.AsType[*trust.Refusal](err); ok {
		e.Stage, e.Digest = StageVerify, refused.Digest
	}
	return e
}

// Pull does what it takes to have r in the store: Prepare and Finish.
func (p *Puller) Pull(ctx context.Context, r Request) (*Result, error) {
	ready, err := p.Prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	return p.Finish(ctx, ready)
}

func (p *Puller) fetcher(s *Scheduler) *fetch.Fetcher {
	f := fetch.New(p.Source, p.Store.Content, p.Progress)
	f.Shared = s.fetches
	return f
}

// defaultDownloads are enough connections to fill a link of some distance.
const defaultDownloads = 6

func (l Limits) downloads() int {
	if l.Downloads > 0 {
		return l.Downloads
	}
	return defaultDownloads
}

// unpacks leaves one thread to the bytes that arrive.
func (l Limits) unpacks() int {
	if l.Unpacks > 0 {
		return l.Unpacks
	}
	return max(runtime.GOMAXPROCS(0)-1, 2)
}

// resumable reports whether a later try can mend the failure err, so that its
// bytes are worth keeping.
func resumable(ctx context.Context, err error) bool {
	return context.Cause(ctx) != nil ||
		errdefs.IsUnavailable(err) || errdefs.IsResourceExhausted(err) || errdefs.IsDeadlineExceeded(err)
}

// phase reports how long a part of the pull as a whole took that began at start.
func (p *Puller) phase(ref source.Ref, phase progress.Phase, start time.Time, n int64) {
	p.Progress.Emit(progress.Event{Kind: progress.PhaseDone, Ref: ref.Name, Phase: phase, Duration: time.Since(start), Bytes: progress.Bytes{Done: n}})
}

func (p *Puller) warn(ref source.Ref, format string, args ...any) {
	p.Progress.Emit(progress.Event{Kind: progress.Warning, Ref: ref.Name, Message: fmt.Sprintf(format, args...)})
}
