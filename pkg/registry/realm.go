package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/token"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// tokenBytes bounds the answer of a token server.
const tokenBytes = 1 << 20

// tokenRequest is one request to the token server that a host has named.
type tokenRequest struct {
	a    *authorizer
	ref  source.Ref
	from string // where the credential was found
	form token.Request
}

// fetchToken gets a token for a challenge. Credentials are given only to token
// servers that the registry may name; where it may not, the pull ends, because
// what is configured is never silently anonymous.
func (a *authorizer) fetchToken(ctx context.Context, c auth.Challenge, cred credential.Credential, ref source.Ref) (t token.Token, err error) {
	q, ok := token.NewQuestion(c, ref, cred)
	if !ok {
		return token.Token{}, unauthenticatedf("names no usable token server")
	}
	for _, form := range q.Requests() {
		t, err = (&tokenRequest{a: a, ref: ref, from: cred.Source, form: form}).do(ctx)
		if e, ok := errors.AsType[*source.Error](err); !ok || !token.Unimplemented(e.Status) {
			return t, err
		}
	}
	return t, err
}

// do asks the token server, following its redirects as long as each target
// passes the test that the first one passed.
func (q *tokenRequest) do(ctx context.Context) (token.Token, error) {
	_, secret, _ := strings.Cut(q.form.Authorization, " ")
	q.a.r.masks.add(secret)
	u := q.form.URL
	for hop := 0; hop <= maxRedirects; hop++ {
		resp, err := q.ask(ctx, u)
		if err != nil {
			return token.Token{}, err
		}
		if !isRedirect(resp) {
			return q.read(ctx, resp)
		}
		drain(resp)
		next, err := u.Parse(resp.Header.Get("Location"))
		if err != nil || next.Host == "" || q.form.Form != "" {
			return token.Token{}, unauthenticatedf("token server %s redirects where a credential cannot follow", u.Host)
		}
		next.User, next.Fragment = nil, ""
		u = next
	}
	return token.Token{}, unauthenticatedf("token server %s: more than %d redirects", u.Host, maxRedirects)
}

// ask puts the request to u if u may be asked and may see what is in it.
func (q *tokenRequest) ask(ctx context.Context, u *url.URL) (*http.Response, error) {
	trusted, err := q.a.judgeRealm(u)
	if err != nil {
		return nil, err
	}
	if q.form.Secret() && !trusted {
		return nil, unauthenticatedf("names the token server %s, which may not get the credential%s: it is in another domain (token_hosts allows it)", u.Host, from(q.from))
	}
	return q.send(ctx, u, trusted)
}

func (q *tokenRequest) send(ctx context.Context, u *url.URL, trusted bool) (*http.Response, error) {
	r, h := q.a.r, q.a.h
	req, err := q.form.HTTP(ctx, u)
	if err != nil {
		return nil, unauthenticatedf("names no usable token server")
	}
	req.Header.Set("User-Agent", r.opts.UserAgent)
	var own http.Header
	if h.origin(u) {
		own = h.Header
	}
	addHeaders(req, own, q.form.Authorization)
	via := h.via.own
	if !trusted {
		via = h.via.stranger(req)
	}
	resp, err := r.roundTrip(h, via, req)
	if err != nil {
		return nil, q.fail(ctx, u, networkFault(err))
	}
	return resp, nil
}

// fail names the token server beside the host that named it.
func (q *tokenRequest) fail(ctx context.Context, u *url.URL, f *fault) error {
	if cause := contextError(ctx); cause != nil {
		return cause
	}
	named := *f
	named.err = faultf("", f.class, false, "token server %s: %w", u.Host, f.err)
	return call{op: "token", ref: q.ref}.fail(q.a.h, &named)
}

// read takes the token out of the answer, and closes it.
func (q *tokenRequest) read(ctx context.Context, resp *http.Response) (token.Token, error) {
	u := resp.Request.URL
	if resp.StatusCode != http.StatusOK {
		return token.Token{}, q.refused(ctx, u, resp)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenBytes+1))
	if err != nil {
		return token.Token{}, q.fail(ctx, u, readFault(err))
	}
	if len(body) > tokenBytes {
		return token.Token{}, unauthenticatedf("token server %s: answer of more than %d bytes", u.Host, tokenBytes)
	}
	t := token.Parse(body, time.Now())
	if !t.Valid() {
		return token.Token{}, unauthenticatedf("token server %s: answer without a usable token", u.Host)
	}
	return t, nil
}

// refused makes an error of a status. What is no passing trouble of the server
// is a refusal, whatever its number.
func (q *tokenRequest) refused(ctx context.Context, u *url.URL, resp *http.Response) error {
	code, text := q.a.r.explain(resp)
	f := statusFault(resp.StatusCode, text)
	if !f.retry && resp.StatusCode != http.StatusForbidden {
		f = unauthenticatedf("%s", text)
	}
	err := q.fail(ctx, u, f)
	if e, ok := errors.AsType[*source.Error](err); ok {
		e.Status, e.Code = resp.StatusCode, code
		setRetryAfter(e, resp)
	}
	return err
}

// judgeRealm decides whether a token server may be asked at all, and whether it
// may see credentials: the registry's own host, a host of the same registrable
// domain, or one that the user lists.
func (a *authorizer) judgeRealm(u *url.URL) (trusted bool, err error) {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return false, unauthenticatedf("names a token server that is not http or https")
	case u.Scheme == "http" && a.h.scheme() == "https":
		return false, unauthenticatedf("names the token server %s without TLS", u.Host)
	case reachOf(u.Host) == reachLinkLocal:
		return false, unauthenticatedf("names the token server %s at a link-local address", u.Host)
	case source.SameHostname(u.Host, a.h.Name) || source.ListsHost(a.r.opts.TokenHosts, u.Host):
		return true, nil
	case reachOf(u.Host) == reachPrivate:
		return false, unauthenticatedf("names the token server %s at a loopback or private address", u.Host)
	}
	return source.SameDomain(u.Host, a.h.Name), nil
}
