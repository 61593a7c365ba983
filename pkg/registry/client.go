package registry

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/registry/neterror"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	maxRedirects = 10
	// errorBytes bounds what is read of the body of an error, drainBytes what
	// is read to keep a connection whose answer is of no interest.
	errorBytes = 64 << 10
	drainBytes = 16 << 10
)

// ask puts c to h and returns a successful answer. A 401 is answered once with
// fresh credentials. The error is a *source.Error, or the cause of ctx.
func (r *Registry) ask(ctx context.Context, h *host, c call) (*http.Response, error) {
	used, err := h.auth.current(ctx, c.ref)
	if err != nil {
		return nil, r.askError(ctx, h, c, err)
	}
	resp, err := r.send(ctx, h, h.url(c), c, used)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && h.isOrigin(resp.Request.URL) {
		drain(resp)
		if used, err = h.auth.renew(ctx, c.ref, resp.Header, used); err != nil {
			return nil, r.askError(ctx, h, c, err)
		}
		resp, err = r.send(ctx, h, h.url(c), c, used)
	}
	if err != nil {
		return nil, r.askError(ctx, h, c, err)
	}
	return r.checkStatus(ctx, h, c, resp)
}

func (r *Registry) checkStatus(ctx context.Context, h *host, c call, resp *http.Response) (*http.Response, error) {
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return nil, r.statusError(ctx, h, c, resp)
	}
	return resp, nil
}

// askError makes a *source.Error of what went wrong before there was an answer.
func (r *Registry) askError(ctx context.Context, h *host, c call, err error) error {
	if cause := contextError(ctx); cause != nil {
		return cause
	}
	if e, ok := errors.AsType[*source.Error](err); ok { // of the token server
		e.Ref, e.Digest = c.ref.Name, c.digest
		return e
	}
	return c.fail(h, networkFault(err))
}

// send asks h at u and follows its redirects. Authorization and the headers
// that are configured for h go to h alone.
func (r *Registry) send(ctx context.Context, h *host, u *url.URL, c call, authorization string) (*http.Response, error) {
	for hop := 0; hop <= maxRedirects; hop++ {
		resp, err := r.sendOnce(ctx, h, u, c, authorization)
		if err != nil || !isRedirect(resp) {
			return resp, err
		}
		drain(resp)
		if u, err = r.redirect(h, resp); err != nil {
			return nil, err
		}
	}
	f := faultf("", errdefs.ErrUnavailable, false, "more than %d redirects", maxRedirects)
	return nil, f.withHint(h.Name + " leads from one address to the next without end: ask the one who runs it")
}

func (r *Registry) sendOnce(ctx context.Context, h *host, u *url.URL, c call, authorization string) (*http.Response, error) {
	if !h.isOrigin(u) {
		return r.sendStranger(ctx, h, u, c)
	}
	req := r.request(ctx, u, c)
	addHeaders(req, h.Header, authorization)
	return r.exchange(h, c, h.via.own, req)
}

// request makes the part of a request that any host may see. It asks for the
// bytes as they are, because only those have the digest.
func (r *Registry) request(ctx context.Context, u *url.URL, c call) *http.Request {
	req := (&http.Request{Method: cmp.Or(c.method, http.MethodGet), URL: u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	req.Header.Set("User-Agent", r.opts.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	req.Header["Accept"] = c.accept
	if c.rng != "" {
		req.Header.Set("Range", c.rng)
	}
	return req
}

func addHeaders(req *http.Request, header http.Header, authorization string) {
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
}

// exchange sends one request, and finds out which scheme h speaks if that is
// open. The body of the answer is watched for stalls.
func (r *Registry) exchange(h *host, c call, via *http.Transport, req *http.Request) (*http.Response, error) {
	if via != h.via.own || h.knownScheme.Load() != nil {
		return r.roundTrip(h, c, via, req)
	}
	first, firstErr := r.roundTrip(h, c, via, req)
	if !h.isAmbiguous(first, firstErr) {
		if firstErr == nil {
			h.knownScheme.Store(&h.Schemes[0])
		}
		return first, firstErr
	}
	second := req.Clone(req.Context())
	second.URL.Scheme = h.Schemes[1]
	resp, err := r.roundTrip(h, c, via, second)
	if err != nil { // the scheme was not what was wrong
		return first, firstErr
	}
	if first != nil {
		drain(first)
	}
	h.knownScheme.Store(&h.Schemes[1])
	return resp, nil
}

// isAmbiguous reports whether an answer, or none, may mean that h speaks the
// other scheme. From HTTPS only the certain sign of a plain server leads to
// HTTP, unless the options let anything do so. A server that is not there, or
// that is slow, is no sign of either.
func (h *host) isAmbiguous(resp *http.Response, err error) bool {
	if h.Schemes[0] == "http" {
		if err != nil {
			return networkFault(err).reason == "reset" || errdefs.IsInvalidArgument(err)
		}
		return resp.StatusCode == http.StatusBadRequest
	}
	return err != nil && (h.Insecure || neterror.IsNotTLS(err))
}

// roundTrip sends one request for c, when the rate of requests allows it.
func (r *Registry) roundTrip(h *host, c call, via *http.Transport, req *http.Request) (*http.Response, error) {
	if err := h.limit.Wait(req.Context()); err != nil {
		return nil, err
	}
	a := r.newAttempt(h, via, req)
	ctx, cancel := a.watch(req.Context())
	if trace := r.trace.Connection(req.URL.Host); trace != nil {
		ctx = httptrace.WithClientTrace(ctx, trace)
	}
	r.dump.Request(req)
	silence := r.newSilence(h, c)
	defer silence.end()
	resp, err := via.RoundTrip(req.WithContext(ctx))
	if err != nil {
		a.wait.End()
		cancel(errClosed)
		f := a.fault(err)
		r.dump.Failure(req, f)
		return nil, f
	}
	r.dump.Response(resp)
	if err := a.judge(resp); err != nil {
		_ = resp.Body.Close() // the error says all
		a.wait.End()
		cancel(errClosed)
		return nil, err
	}
	resp.Body = a.watchBody(ctx, cancel, resp.Body)
	return resp, nil
}

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// drain reads what little is left of an answer, so that its connection can be
// used again, and closes it.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, drainBytes) // the answer is not needed
	_ = resp.Body.Close()
}
