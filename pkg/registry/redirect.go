package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/time/rate"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// redirect returns where an answer of h leads, if it may lead there.
func (r *Registry) redirect(h *host, resp *http.Response) (*url.URL, error) {
	from, location := resp.Request.URL, resp.Header.Get("Location")
	to, err := from.Parse(location)
	if err != nil || to.Host == "" || location == "" {
		return nil, malformedf("redirect to no usable URL")
	}
	to.User, to.Fragment = nil, ""
	target := to.Scheme + "://" + to.Host + to.EscapedPath()
	switch {
	case to.Scheme != "http" && to.Scheme != "https":
		return nil, malformedf("redirect to %q: not http or https", target)
	case from.Scheme == "https" && to.Scheme == "http":
		return nil, malformedf("redirect to %q: from https to http", target)
	case h.isOrigin(to):
		return to, nil
	}
	return to, r.judgeReach(h, to.Host, to.Host)
}

// judgeReach decides whether h may redirect to the host of that name, which is at
// addr as far as that is known. A registry must not have its clients ask servers
// inside their network, unless it is there itself or the options name the target.
func (r *Registry) judgeReach(h *host, name, addr string) error {
	at := source.Hostname(addr)
	switch reachOf(addr) {
	case reachLinkLocal:
		return malformedf("redirect to %s leads to the link-local address %s, which is never followed", name, at)
	case reachPrivate:
		if h.isLocal() || r.allowsPrivate(name, at) {
			return nil
		}
		f := malformedf("redirect to %s leads to the loopback or private address %s, which a public registry may not", name, at)
		f.hint = fmt.Sprintf("if this storage is inside your network, put it into the setting private_redirects = [%q]", source.Hostname(name))
		return f
	}
	return nil
}

// allowsPrivate reports whether the options let a redirect lead to the host of that
// name, or to that address.
func (r *Registry) allowsPrivate(name, at string) bool {
	if source.ListsHost(r.opts.PrivateRedirects, name) {
		return true
	}
	addr, err := netip.ParseAddr(at)
	return err == nil && slices.ContainsFunc(r.opts.PrivateRedirects, func(entry string) bool {
		network, err := netip.ParsePrefix(entry)
		return err == nil && network.Contains(addr.Unmap())
	})
}

// validatePrivateRedirect refuses what is neither a host nor a network.
func validatePrivateRedirect(entry string) error {
	if _, err := netip.ParsePrefix(entry); err == nil || isHostEntry(entry) {
		return nil
	}
	return failure.New(errdefs.ErrInvalidArgument, "private redirect %q: want HOST, HOST:PORT or a network such as 10.0.0.0/8", entry)
}

// stranger is the server of u, about which nothing is configured, as a host. It is
// reached as a redirect of h.
func (h *host) stranger(u *url.URL) *host {
	s := &host{Host: hosts.Host{Name: u.Host, Mirror: true, Schemes: []string{u.Scheme}}, limit: rate.NewLimiter(rate.Inf, 1)}
	s.knownScheme.Store(&s.Schemes[0])
	s.private.Store(h.isLocal())
	s.via = h.via
	s.via.own = h.via.toStranger(&http.Request{URL: u})
	return s
}

// sendStranger asks the server to which h has redirected, without anything that was
// meant for h. If that is a registry that wants a token, it gets one of its own:
// anonymous, or for the credential that there is for it, which goes to its token
// server alone, and only on a safe way. Where nothing may be asked with credentials,
// as with the urls of a descriptor, the target gets none either.
func (r *Registry) sendStranger(ctx context.Context, h *host, u *url.URL, c call) (*http.Response, error) {
	req := r.request(ctx, u, c)
	ref, ok := targetRef(c.ref, u)
	if !ok || h.auth == nil {
		return r.exchangeStranger(h, c, u, req)
	}
	t := r.target(h, u)
	authorization, err := t.auth.current(ctx, ref)
	if err != nil {
		return nil, targetError(u, err)
	}
	addHeaders(req, nil, authorization)
	resp, err := r.exchangeStranger(h, c, u, req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !t.auth.canAnswer(resp.Header) {
		return resp, err
	}
	drain(resp)
	if authorization, err = t.auth.renew(ctx, ref, resp.Header, authorization); err != nil {
		return nil, targetError(u, err)
	}
	req = r.request(ctx, u, c)
	addHeaders(req, nil, authorization)
	return r.exchangeStranger(h, c, u, req)
}

func (r *Registry) exchangeStranger(h *host, c call, u *url.URL, req *http.Request) (*http.Response, error) {
	resp, err := r.exchange(h, c, h.via.toStranger(req), req)
	if err != nil {
		return nil, targetError(u, err)
	}
	return resp, nil
}

// targetError names the target of a redirect beside what went wrong there.
func targetError(u *url.URL, err error) error {
	if f := faultOf(err); f != nil && !errors.As(err, new(*source.Error)) {
		named := *f
		named.err = fmt.Errorf("redirect target %s: %w", u.Host, f.err)
		return &named
	}
	return err
}

// target is the registry at u, to which h redirects, with the tokens of this run.
func (r *Registry) target(h *host, u *url.URL) *host {
	origin := u.Scheme + "://" + u.Host
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.targets[origin]
	if t == nil {
		t = h.stranger(u)
		t.auth = newAuthorizer(r, t)
		t.auth.tokensOnly, t.auth.anonymous = true, !t.isSafeFor(u)
		if h.targets == nil {
			h.targets = map[string]*host{}
		}
		h.targets[origin] = t
	}
	return t
}

// isSafeFor reports whether a secret that is sent to u can be read there alone. The
// way to the target of a redirect is the one to the host that redirects: a network
// without TLS, or certificates that are trusted for that host, are no reason to
// believe that u is who it says.
func (h *host) isSafeFor(u *url.URL) bool {
	if u.Scheme == "http" {
		addr, err := netip.ParseAddr(u.Hostname())
		return err == nil && addr.IsLoopback()
	}
	c := h.via.own.TLSClientConfig
	return c == nil || !c.InsecureSkipVerify && c.RootCAs == nil
}

// targetRef is ref with the repository that it has at the target of a redirect. ok
// is false if that is no registry.
func targetRef(ref source.Ref, u *url.URL) (at source.Ref, ok bool) {
	ref.Path, ok = repositoryOf(u.Path)
	return ref, ok
}

// repositoryOf finds the repository in a path of a registry's API; it is empty where
// the path is about none.
func repositoryOf(urlPath string) (name string, ok bool) {
	_, rest, ok := strings.Cut(urlPath, "/v2/")
	if !ok || rest == "" || rest == "_catalog" {
		return "", ok
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return name, true
	}
	parent := path.Dir(rest)
	for _, kind := range []string{"/manifests", "/blobs"} {
		if name, ok := strings.CutSuffix(parent, kind); ok {
			return name, true
		}
	}
	return "", false
}
