package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/token"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// authorizer finds what to put into the Authorization header for one host. It
// keeps one grant per repository, because both credentials and tokens may
// differ between the repositories of a host.
type authorizer struct {
	r *Registry
	h *host
	// tokensOnly is set for the target of a redirect, which gets no password, and
	// anonymous if its tokens are for no credential either.
	tokensOnly, anonymous bool

	mu     sync.Mutex
	grants map[string]*grant
}

// grant is the header for one repository. A request that holds the turn may look
// at it and renew it, so that many requests share one token.
type grant struct {
	turn      chan struct{}
	header    string
	expires   time.Time // zero if nothing is known
	challenge token.Challenge
	source    string // of the credential, empty if anonymous
	asked     bool   // the credential has been looked up
	cred      credential.Credential
}

func newAuthorizer(r *Registry, h *host) *authorizer {
	return &authorizer{r: r, h: h, grants: map[string]*grant{}}
}

// takeTurn waits for the turn at the grant of ref's repository.
func (a *authorizer) takeTurn(ctx context.Context, ref source.Ref) (*grant, error) {
	a.mu.Lock()
	g := a.grants[ref.Path]
	if g == nil {
		g = &grant{turn: make(chan struct{}, 1)}
		a.grants[ref.Path] = g
	}
	a.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		return g, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (g *grant) endTurn() { <-g.turn }

// current returns the header to begin with: none before the host has asked,
// and a fresh one if the token has expired by its own word.
func (a *authorizer) current(ctx context.Context, ref source.Ref) (string, error) {
	g, err := a.takeTurn(ctx, ref)
	if err != nil {
		return "", err
	}
	defer g.endTurn()
	if g.header == "" || g.expires.IsZero() || time.Now().Before(g.expires) {
		return g.header, nil
	}
	if err := a.obtain(ctx, ref, g); err != nil {
		return "", err
	}
	return g.header, nil
}

// renew answers a 401 that came although used was sent. If another request has
// renewed the header since, that is the answer.
func (a *authorizer) renew(ctx context.Context, ref source.Ref, answer http.Header, used string) (string, error) {
	g, err := a.takeTurn(ctx, ref)
	if err != nil {
		return "", err
	}
	defer g.endTurn()
	if g.header != used && g.header != "" {
		return g.header, nil
	}
	g.header = ""
	challenge, ok := token.Choose(answer)
	if !ok {
		return "", unauthenticatedf("asks for credentials in no way that we know").
			withHint("check the name: some registries answer this for images that do not exist; one that wants a credential names Basic or Bearer")
	}
	g.challenge = challenge
	if err := a.obtain(ctx, ref, g); err != nil {
		return "", err
	}
	if g.header == used {
		g.header = ""
		return "", unauthenticatedf("the credential%s was refused", fromSource(g.source)).withHint(g.cred.Remedy)
	}
	return g.header, nil
}

// canAnswer reports whether a challenge of a 401 can be answered here.
func (a *authorizer) canAnswer(answer http.Header) bool {
	challenge, ok := token.Choose(answer)
	return ok && (challenge.Scheme == token.Bearer || !a.tokensOnly)
}

// obtain fills g with a fresh header. A failure leaves nothing behind, so that
// the next try begins anew.
func (a *authorizer) obtain(ctx context.Context, ref source.Ref, g *grant) error {
	g.header, g.expires = "", time.Time{}
	if err := a.lookUp(ctx, ref, g); err != nil {
		return err
	}
	switch {
	case g.challenge.Scheme == token.Basic:
		return g.basic()
	case g.cred.RegistryToken != "":
		return g.bearer(token.Token{Value: g.cred.RegistryToken})
	}
	t, err := a.fetchToken(ctx, g.challenge, g.cred, ref)
	if err != nil {
		return err
	}
	a.r.masks.Add(t.Value)
	return g.bearer(t)
}

// lookUp finds the credential once per repository: helpers are slow, and some
// ask a person.
func (a *authorizer) lookUp(ctx context.Context, ref source.Ref, g *grant) error {
	if g.asked || a.anonymous || a.r.opts.Credentials == nil {
		return nil
	}
	cred, err := a.r.opts.Credentials(ctx, a.h.Name, ref)
	if err != nil {
		return unauthenticatedf("finding a credential: %w", err)
	}
	g.cred, g.asked, g.source = cred, true, cred.Source
	a.r.masks.Add(cred.Password, cred.IdentityToken, cred.RegistryToken, cred.BasicAuth())
	return nil
}

func (g *grant) basic() error {
	if g.cred.Password == "" {
		return unauthenticatedf("%w", failure.New(source.ErrNoCredential, "asks for a user name and password, and there is none for this host%s", g.cred.Why()))
	}
	g.header = "Basic " + g.cred.BasicAuth()
	return nil
}

func (g *grant) bearer(t token.Token) error {
	if !t.Valid() {
		return unauthenticatedf("got a token that cannot be sent in a header")
	}
	g.header, g.expires = "Bearer "+t.Value, t.Expires
	return nil
}

// used returns the credential that was sent for ref, zero if there was none.
func (a *authorizer) used(ctx context.Context, ref source.Ref) credential.Credential {
	g, err := a.takeTurn(ctx, ref)
	if err != nil {
		return credential.Credential{}
	}
	defer g.endTurn()
	return g.cred
}

func fromSource(source string) string {
	if source == "" {
		return ""
	}
	return " from " + strings.TrimSpace(source)
}

// Login checks that each host of a registry speaks the protocol and accepts the
// credential that there is for it. It does not ask for any image.
func (r *Registry) Login(ctx context.Context, domain string) error {
	ref := source.RegistryRef(domain)
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return err
	}
	var wrong []error
	for _, h := range up.hosts {
		resp, err := r.ask(ctx, h, call{op: "login", ref: ref, accept: []string{"application/json"}})
		if err != nil {
			wrong = append(wrong, fmt.Errorf("logging in: %w", err))
			continue
		}
		drain(resp)
	}
	return errors.Join(wrong...)
}

// tokenBytes bounds the answer of a token server.
const tokenBytes = 1 << 20

// tokenRequest is one request to the token server that a host has named.
type tokenRequest struct {
	a    *authorizer
	ref  source.Ref
	cred credential.Credential
	form token.Request
}

// fetchToken gets a token for a challenge. Credentials are given only to token
// servers that the registry may name; where it may not, the pull ends, because
// what is configured is never silently anonymous.
func (a *authorizer) fetchToken(ctx context.Context, c token.Challenge, cred credential.Credential, ref source.Ref) (t token.Token, err error) {
	q, ok := token.NewQuestion(c, ref, cred)
	if !ok {
		return token.Token{}, unauthenticatedf("names no usable token server")
	}
	for _, form := range q.Requests() {
		t, err = (&tokenRequest{a: a, ref: ref, cred: cred, form: form}).do(ctx)
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
	q.a.r.masks.Add(secret)
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
		return nil, allowTokenHost(u, unauthenticatedf("names the token server %s, which may not get the credential%s: it is in another domain", u.Host, fromSource(q.cred.Source)))
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
	if h.isOrigin(u) {
		own = h.Header
	}
	addHeaders(req, own, q.form.Authorization)
	via := h.via.own
	if !trusted {
		via = h.via.toStranger(req)
	}
	resp, err := r.roundTrip(h, call{ref: q.ref}, via, req)
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

// read returns the token in the answer, and closes it.
func (q *tokenRequest) read(ctx context.Context, resp *http.Response) (token.Token, error) {
	u := resp.Request.URL
	if resp.StatusCode != http.StatusOK {
		return token.Token{}, q.refused(ctx, resp)
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
	if !t.Valid() { // Artifactory refuses a credential in this way
		code, text := q.a.r.describe(resp, refusalIn(body))
		return token.Token{}, q.refusal(ctx, resp, unauthenticatedf("answer without a usable token: %s", text), code)
	}
	return t, nil
}

// refusalIn is what may be repeated of an answer that should have been a token: only a
// document of errors, for anything else may be the token itself.
func refusalIn(body []byte) []byte {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return body
	}
	return nil
}

// refused makes an error of a status. A status that no other try can change is a
// refusal, by any number.
func (q *tokenRequest) refused(ctx context.Context, resp *http.Response) error {
	code, text := q.a.r.explain(resp)
	f := statusFault(resp.StatusCode, text)
	if !f.retry && resp.StatusCode != http.StatusForbidden {
		f = unauthenticatedf("%s", text)
	}
	return q.refusal(ctx, resp, f, code)
}

// refusal says of f with which credential the token server was asked.
func (q *tokenRequest) refusal(ctx context.Context, resp *http.Response, f *fault, code string) error {
	status := resp.StatusCode
	if errdefs.IsUnauthorized(f) && q.cred.IsSecret() { // with whatever status
		status = http.StatusUnauthorized
	}
	f.blameCredential(status, q.cred)
	err := q.fail(ctx, resp.Request.URL, f)
	if e, ok := errors.AsType[*source.Error](err); ok {
		e.Status, e.Code = resp.StatusCode, code
		setRetryAfter(e, resp)
	}
	return err
}

// judgeRealm decides whether a token server may be asked at all, and whether it
// may see credentials: the registry's own host, a host of the same registrable
// domain, one that is known to belong to the registry, or one that the user lists.
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
		return false, allowTokenHost(u, unauthenticatedf("names the token server %s at a loopback or private address", u.Host))
	}
	return source.SameDomain(u.Host, a.h.Name) || token.IsServerOf(u.Host, a.h.Name), nil
}

// allowTokenHost adds the setting that lets the token server u have credentials.
func allowTokenHost(u *url.URL, f *fault) *fault {
	f.hint = fmt.Sprintf("if %s belongs to this registry, write token_hosts = [%q] into the configuration, or into the profile of the registry", u.Host, u.Host)
	return f
}
