package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry/document"
	"github.com/containerd-pull/containerd-pull/pkg/registry/header"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// known is a target that the caller has, and which hosts were asked about it.
type known struct {
	source.Target
	asked map[*host]bool
}

// Refresh implements source.Source. It asks with HEAD, which registries do not
// count as a pull. Where that brings no answer, as with registries that do not
// have it or leave the digest out, it is Resolve.
func (r *Registry) Refresh(ctx context.Context, ref source.Ref, had source.Target) (source.Target, error) {
	if ref.Digest != "" {
		return r.Resolve(ctx, ref)
	}
	desc, err := document.Describe(had.Body, http.Header{"Content-Type": {had.Desc.MediaType}}, had.Desc)
	if err != nil { // what the caller has is not what the registry gave out
		return r.Resolve(ctx, ref)
	}
	had.Desc = desc
	return r.resolve(ctx, ref, &known{Target: had, asked: map[*host]bool{}})
}

// mayAsk reports whether h was not asked in this Refresh.
func (k *known) mayAsk(h *host) bool {
	asked := k.asked[h]
	k.asked[h] = true
	return !asked
}

// refreshFrom asks h for the digest and fetches the document if that is another one
// or does not come.
func (r *Registry) refreshFrom(ctx context.Context, h *host, c call, had source.Target) (source.Target, error) {
	answer, err := r.head(ctx, h, c)
	if err != nil {
		return source.Target{}, err
	}
	got := digest.Digest(answer.Get("Docker-Content-Digest"))
	if got == had.Desc.Digest {
		r.noteRateLimit(ctx, h, c, answer)
		return source.Target{Desc: had.Desc, Body: had.Body, Host: h.Name, Unchanged: true}, nil
	}
	t, err := r.documentFrom(ctx, h, c, ocispec.Descriptor{})
	if err == nil && got == "" {
		h.refusesHead.Store(true)
	}
	return t, err
}

// head returns what h says of a tag, nothing if it refuses to. Its error is one that
// a GET would meet as well.
func (r *Registry) head(ctx context.Context, h *host, c call) (http.Header, error) {
	c.method, c.accept = http.MethodHead, h.manifestAccept()
	resp, err := r.ask(ctx, h, c)
	if err != nil && isRefusedHead(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	drain(resp)
	return resp.Header, nil
}

// isRefusedHead reports whether a GET may do better: after a status, unless it wants
// fewer requests or is a token server's, and after a connection that broke.
func isRefusedHead(err error) bool {
	e, ok := errors.AsType[*source.Error](err)
	if !ok || e.Op == "token" || errdefs.IsResourceExhausted(e) {
		return false
	}
	return e.Status != 0 || Reason(err) == "reset"
}

// noteRateLimit warns of a limit that is near, and logs every limit for debugging.
func (r *Registry) noteRateLimit(ctx context.Context, h *host, c call, answer http.Header) {
	l, ok := header.ParseRateLimit(answer)
	if !ok {
		return
	}
	log.G(ctx).Debugf("rate limit of %s: %s", h.Name, l)
	if c.byTag() && l.IsNear() {
		r.opts.Progress.Emit(progress.Event{Kind: progress.Warning, Ref: c.ref.Name, Message: fmt.Sprintf("the rate limit of %s is near: %s", h.Name, l)})
	}
}
