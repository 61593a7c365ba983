package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
)

// batch is the state of one call for one or several images.
type batch struct {
	cfg     *config.Config
	display *progress.Display
	sink    progress.Sink
	refs    []registry.Ref
	results []*pull.Result // of what succeeded, in the order of refs
	failed  int
}

// run pulls every reference. A failure does not stop the others; only the end
// of the context does.
func (b *batch) run(ctx context.Context) error {
	start := time.Now()
	b.sink.Emit(progress.Event{Kind: progress.Start, Refs: b.names()})
	p, err := b.puller(ctx)
	if err != nil {
		return b.tell("", err)
	}
	defer p.Store.Close() // nothing is left to write by then
	err = b.pullAll(ctx, p)
	b.sink.Emit(progress.Event{
		Kind:     progress.Summary,
		Total:    int64(len(b.refs)),
		Offset:   int64(b.failed),
		Duration: time.Since(start),
	})
	return err
}

func (b *batch) names() []string {
	var names []string
	for _, ref := range b.refs {
		names = append(names, ref.Name)
	}
	return names
}

func (b *batch) pullAll(ctx context.Context, p *pull.Puller) error {
	var last error
	for _, ref := range b.refs {
		if ctx.Err() != nil {
			return b.tell("", context.Cause(ctx))
		}
		req := b.cfg.Request
		req.Ref = ref
		res, err := p.Pull(ctx, req)
		if err != nil {
			b.failed++
			last = b.tell(ref.Name, err)
			continue
		}
		b.results = append(b.results, res)
	}
	if b.failed > 0 && len(b.refs) > 1 {
		return &reportedError{&partialError{b.failed, len(b.refs)}}
	}
	return last
}

// tell shows a failure at once: as an event to those who read events, as lines
// to everybody else.
func (b *batch) tell(ref string, err error) error {
	b.sink.Emit(progress.Event{Kind: progress.Error, Ref: ref, Err: err})
	if b.cfg.Progress != progress.ModeJSON {
		writeError(b.display.Writer(), err)
	}
	return &reportedError{err}
}

// notify shows what the registry has to say as events.
func notify(sink progress.Sink) func(registry.Notice) {
	kinds := map[string]progress.Kind{registry.NoticeRetry: progress.Retry, registry.NoticeHost: progress.HostFailed}
	return func(n registry.Notice) {
		sink.Emit(progress.Event{
			Kind:    kinds[n.Kind],
			Ref:     n.Ref,
			Digest:  n.Digest,
			Host:    n.Host,
			Attempt: n.Attempt,
			Wait:    n.Wait,
			Reason:  n.Reason,
			Err:     n.Err,
		})
	}
}

// writeResults prints what was pulled, in the order asked for.
func writeResults(w io.Writer, cfg *config.Config, results []*pull.Result) error {
	var errs []error
	for _, res := range results {
		if !cfg.PrintChainID {
			_, err := fmt.Fprintln(w, res.Name)
			errs = append(errs, err)
			continue
		}
		for _, p := range res.Platforms {
			if p.ChainID != "" {
				_, err := fmt.Fprintf(w, "image chain ID: %s\n", p.ChainID)
				errs = append(errs, err)
			}
		}
	}
	return asOutput(errors.Join(errs...))
}
