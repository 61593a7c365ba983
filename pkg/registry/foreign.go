package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/time/rate"

	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// openForeign tries the descriptor's own urls, if they are allowed, with
// nothing in the requests that is anybody's secret. It returns nil if none has
// the blob; then the registry is asked.
func (r *Registry) openForeign(ctx context.Context, up *upstream, c call, desc ocispec.Descriptor, rng source.Range) *source.Body {
	if !r.opts.AllowForeignURLs || len(up.hosts) == 0 {
		return nil
	}
	for _, raw := range desc.URLs {
		u, err := url.Parse(raw)
		if err != nil || r.blamed(u.Host, c) > 0 {
			continue
		}
		h, err := foreignHost(up.hosts[len(up.hosts)-1], u)
		if err != nil {
			continue
		}
		b, err := r.openAt(ctx, h, c, desc, rng, func(c call) (*http.Response, error) { return r.askForeign(ctx, h, u, c) })
		if err == nil {
			return b
		}
		if e, ok := errors.AsType[*source.Error](err); ok { // a url gets one chance
			r.countBlame(u.Host, c)
			r.emitGone(e)
		}
	}
	return nil
}

// foreignHost is the host of u as somebody of whom we know nothing. It is
// reached as a redirect of the registry would be, under the same rules.
func foreignHost(registry *host, u *url.URL) (*host, error) {
	from := &http.Response{
		Header:  http.Header{"Location": {u.String()}},
		Request: &http.Request{URL: &url.URL{Scheme: registry.scheme(), Host: registry.Name}},
	}
	to, err := registry.redirect(from)
	if err != nil {
		return nil, err
	}
	h := &host{Host: hosts.Host{Name: to.Host, Mirror: true, Schemes: []string{to.Scheme}}, limit: rate.NewLimiter(rate.Inf, 1)}
	h.settled.Store(&h.Schemes[0])
	h.private.Store(registry.local())
	h.via = registry.via
	h.via.own = registry.via.stranger(&http.Request{URL: to})
	return h, nil
}

// askForeign is ask without credentials.
func (r *Registry) askForeign(ctx context.Context, h *host, u *url.URL, c call) (*http.Response, error) {
	resp, err := r.send(ctx, h, u, c, "")
	if err != nil {
		return nil, r.askError(ctx, h, c, err)
	}
	return r.checkStatus(ctx, h, c, resp)
}
