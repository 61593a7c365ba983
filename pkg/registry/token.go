package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"golang.org/x/net/http/httpguts"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	// tokenBytes bounds the answer of a token server.
	tokenBytes = 1 << 20
	// clientID names us to a token server that speaks OAuth2.
	clientID = "containerd-pull"
	// A token without a word about its life is good for a minute, says the
	// specification of Docker's token servers; a word beyond a day is not
	// believed.
	shortLife = 60 * time.Second
	longLife  = 24 * time.Hour
)

type token struct {
	value   string
	expires time.Time // zero if it does not expire
}

func (t token) valid() bool {
	return t.value != "" && httpguts.ValidHeaderFieldValue(t.value)
}

// tokenRequest is one question to a token server.
type tokenRequest struct {
	a      *authorizer
	ref    source.Ref
	realm  *url.URL
	params url.Values // service and scope
	cred   credential.Credential
}

// fetchToken gets a token for a challenge. Credentials are given only to token
// servers that the registry may name; where it may not, the pull ends, because
// what is configured is never silently anonymous.
func (a *authorizer) fetchToken(ctx context.Context, c auth.Challenge, cred credential.Credential, ref source.Ref) (token, error) {
	realm, err := url.Parse(c.Parameters["realm"])
	if err != nil || realm.Host == "" {
		return token{}, unauthenticatedf("names no usable token server")
	}
	realm.User, realm.Fragment = nil, ""
	q := &tokenRequest{a: a, ref: ref, realm: realm, cred: cred, params: url.Values{}}
	if service := c.Parameters["service"]; service != "" {
		q.params.Set("service", service)
	}
	q.params["scope"] = scopes(c.Parameters["scope"], ref)
	if cred.IdentityToken != "" {
		return q.refresh(ctx)
	}
	return q.get(ctx, cred.Username, cred.Password)
}

// scopes is what the challenge asks for, or the right to pull; none for a
// login, which is at no repository.
func scopes(asked string, ref source.Ref) []string {
	if fields := strings.Fields(asked); len(fields) > 0 {
		return fields
	}
	if ref.Path == "" {
		return nil
	}
	return []string{"repository:" + ref.Path + ":pull"}
}

// refresh trades an identity token for an access token, by OAuth2 and, with
// servers that do not know that, by the older GET.
func (q *tokenRequest) refresh(ctx context.Context) (token, error) {
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {q.cred.IdentityToken},
		"client_id":     {clientID},
		"service":       q.params["service"],
	}
	if scopes := q.params["scope"]; len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	t, err := q.do(ctx, http.MethodPost, form.Encode(), "")
	if e, ok := errors.AsType[*source.Error](err); ok && knowsNoPost(e.Status) {
		return q.get(ctx, q.cred.Username, q.cred.IdentityToken)
	}
	return t, err
}

// knowsNoPost lists what registries answer to a POST that they do not
// implement.
func knowsNoPost(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

func (q *tokenRequest) get(ctx context.Context, username, secret string) (token, error) {
	authorization := ""
	if secret != "" {
		authorization = "Basic " + basicAuth(username, secret)
		q.a.r.masks.add(basicAuth(username, secret))
	}
	return q.do(ctx, http.MethodGet, "", authorization)
}

// do asks the token server, following its redirects as long as each target
// passes the test that the first one passed.
func (q *tokenRequest) do(ctx context.Context, method, form, authorization string) (token, error) {
	secret := form != "" || authorization != ""
	u := *q.realm
	if form == "" {
		query := u.Query()
		for name, values := range q.params {
			query[name] = values
		}
		u.RawQuery = query.Encode()
	}
	for hop := 0; hop <= maxRedirects; hop++ {
		trusted, err := q.a.judgeRealm(&u)
		if err != nil {
			return token{}, err
		}
		if secret && !trusted {
			return token{}, unauthenticatedf("names the token server %s, which may not get the credential%s: it is in another domain (token_hosts allows it)", u.Host, from(q.cred.Source))
		}
		resp, err := q.send(ctx, method, &u, form, authorization, trusted)
		if err != nil {
			return token{}, err
		}
		if !isRedirect(resp) {
			return q.read(ctx, resp)
		}
		drain(resp)
		next, err := u.Parse(resp.Header.Get("Location"))
		if err != nil || next.Host == "" || form != "" {
			return token{}, unauthenticatedf("token server %s redirects where a credential cannot follow", u.Host)
		}
		next.User, next.Fragment = nil, ""
		u = *next
	}
	return token{}, unauthenticatedf("token server %s: more than %d redirects", u.Host, maxRedirects)
}

func (q *tokenRequest) send(ctx context.Context, method string, u *url.URL, form, authorization string, trusted bool) (*http.Response, error) {
	r, h := q.a.r, q.a.h
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(form))
	if err != nil {
		return nil, unauthenticatedf("names no usable token server")
	}
	if form == "" {
		req.Body, req.ContentLength = nil, 0
	} else {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("User-Agent", r.opts.UserAgent)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity")
	var own http.Header
	if h.origin(u) {
		own = h.Header
	}
	addHeaders(req, own, authorization)
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

// fail names the token server beside the host that sent us there.
func (q *tokenRequest) fail(ctx context.Context, u *url.URL, f *fault) error {
	if cause := contextError(ctx); cause != nil {
		return cause
	}
	named := *f
	named.err = faultf("", f.class, false, "token server %s: %w", u.Host, f.err)
	return call{op: "token", ref: q.ref}.fail(q.a.h, &named)
}

// read takes the token out of the answer, and closes it.
func (q *tokenRequest) read(ctx context.Context, resp *http.Response) (token, error) {
	u := resp.Request.URL
	if resp.StatusCode != http.StatusOK {
		return token{}, q.refused(ctx, u, resp)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenBytes+1))
	if err != nil {
		return token{}, q.fail(ctx, u, readFault(err))
	}
	if len(body) > tokenBytes {
		return token{}, unauthenticatedf("token server %s: answer of more than %d bytes", u.Host, tokenBytes)
	}
	t := parseToken(body, time.Now())
	if !t.valid() {
		return token{}, unauthenticatedf("token server %s: answer without a usable token", u.Host)
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

// parseToken reads both names of the token. Its life is a hint: what is no
// number counts as absent.
func parseToken(body []byte, now time.Time) token {
	var doc struct {
		Token       string          `json:"token"`
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return token{}
	}
	life := shortLife
	if secs, err := strconv.ParseFloat(strings.Trim(string(doc.ExpiresIn), `"`), 64); err == nil && secs > 0 {
		life = time.Duration(min(secs, longLife.Seconds()) * float64(time.Second))
	}
	t := token{value: doc.AccessToken, expires: now.Add(life)}
	if t.value == "" {
		t.value = doc.Token
	}
	return t
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
