package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"

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

	mu     sync.Mutex
	grants map[string]*grant
}

// grant is the header for one repository. Whoever holds turn may look at it
// and renew it, so that many requests share one token.
type grant struct {
	turn      chan struct{}
	header    string
	expires   time.Time // zero if nothing is known
	challenge auth.Challenge
	source    string // of the credential, empty if anonymous
	asked     bool   // the credential has been looked up
	cred      credential.Credential
}

func newAuthorizer(r *Registry, h *host) *authorizer {
	return &authorizer{r: r, h: h, grants: map[string]*grant{}}
}

// take waits for the turn at the grant of ref's repository.
func (a *authorizer) take(ctx context.Context, ref source.Ref) (*grant, error) {
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

func (g *grant) leave() { <-g.turn }

// current returns the header to begin with: none before the host has asked,
// and a fresh one if the token has expired by its own word.
func (a *authorizer) current(ctx context.Context, ref source.Ref) (string, error) {
	g, err := a.take(ctx, ref)
	if err != nil {
		return "", err
	}
	defer g.leave()
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
	g, err := a.take(ctx, ref)
	if err != nil {
		return "", err
	}
	defer g.leave()
	if g.header != used && g.header != "" {
		return g.header, nil
	}
	g.header = ""
	challenge, ok := token.Choose(answer)
	if !ok {
		return "", unauthenticatedf("asks for credentials in no way that we know")
	}
	g.challenge = challenge
	if err := a.obtain(ctx, ref, g); err != nil {
		return "", err
	}
	if g.header == used {
		g.header = ""
		return "", unauthenticatedf("the credential%s was refused", from(g.source))
	}
	return g.header, nil
}

// obtain fills g with a fresh header. Nothing of a failure is kept, so that
// the next try begins anew.
func (a *authorizer) obtain(ctx context.Context, ref source.Ref, g *grant) error {
	g.header, g.expires = "", time.Time{}
	if err := a.lookUp(ctx, ref, g); err != nil {
		return err
	}
	switch {
	case g.challenge.Scheme == auth.BasicAuth:
		return g.basic()
	case g.cred.RegistryToken != "":
		return g.bearer(token.Token{Value: g.cred.RegistryToken})
	}
	t, err := a.fetchToken(ctx, g.challenge, g.cred, ref)
	if err != nil {
		return err
	}
	a.r.masks.add(t.Value)
	return g.bearer(t)
}

// lookUp finds the credential once per repository: helpers are slow, and some
// ask a person.
func (a *authorizer) lookUp(ctx context.Context, ref source.Ref, g *grant) error {
	if g.asked || a.r.opts.Credentials == nil {
		return nil
	}
	cred, err := a.r.opts.Credentials(ctx, a.h.Name, ref)
	if err != nil {
		return unauthenticatedf("finding a credential: %w", err)
	}
	g.cred, g.asked, g.source = cred, true, cred.Source
	a.r.masks.add(cred.Password, cred.IdentityToken, cred.RegistryToken, cred.BasicAuth())
	return nil
}

func (g *grant) basic() error {
	if g.cred.Password == "" {
		return unauthenticatedf("asks for a user name and password, and there is none for this host")
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

// used describes the credential that was sent for ref, with a leading space,
// and reports whether there was one.
func (a *authorizer) used(ctx context.Context, ref source.Ref) (source string, sent bool) {
	g, err := a.take(ctx, ref)
	if err != nil {
		return "", false
	}
	defer g.leave()
	return from(g.source), g.cred != credential.Credential{}
}

func from(source string) string {
	if source == "" {
		return ""
	}
	return " from " + strings.TrimSpace(source)
}

// Login asks each host of a registry whether it speaks the protocol and accepts
// the credential that there is for it. It does not ask for any image.
func (r *Registry) Login(ctx context.Context, domain string) error {
	ref := source.Ref{Name: domain, Domain: domain}
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return err
	}
	var wrong []error
	for _, h := range up.hosts {
		resp, err := r.ask(ctx, h, call{op: "login", ref: ref, accept: "application/json"})
		if err != nil {
			wrong = append(wrong, fmt.Errorf("logging in: %w", err))
			continue
		}
		drain(resp)
	}
	return errors.Join(wrong...)
}
