package testregistry

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testca"
)

// authorizer lets a request pass or answers it with a challenge.
type authorizer interface {
	allow(w http.ResponseWriter, req *http.Request) bool
	close() error
}

func newAuthorizer(o Options, ca *testca.Authority) (authorizer, error) {
	switch {
	case o.Token != nil:
		return newTokenServer(*o.Token, ca, nil)
	case o.Basic != nil:
		return basicAuth(*o.Basic), nil
	default:
		return anyone{}, nil
	}
}

type anyone struct{}

func (anyone) allow(http.ResponseWriter, *http.Request) bool { return true }
func (anyone) close() error                                  { return nil }

type basicAuth Credentials

func (b basicAuth) allow(w http.ResponseWriter, req *http.Request) bool {
	if Credentials(b).match(req) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="pulltest"`)
	writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

func (basicAuth) close() error { return nil }

func (c Credentials) match(req *http.Request) bool {
	user, password, ok := req.BasicAuth()
	return ok && user == c.User && password == c.Password
}

// TokenOptions says how a token server gives out tokens.
type TokenOptions struct {
	// Credentials are asked for; nil gives tokens to every client.
	Credentials *Credentials
	// Lifetime of a token, a minute if zero.
	Lifetime time.Duration
	// NoPost answers 405 to the OAuth2 form, as many token servers do.
	NoPost bool
	// Realm is announced instead of the server's own address.
	Realm string
	// Behave makes the token server itself misbehave.
	Behave Behave
}

// tokenServer gives out bearer tokens bound to scopes, over the two protocols
// of Docker's token specification: GET with basic authentication, POST with a
// form.
type tokenServer struct {
	opts   TokenOptions
	realm  string
	server *http.Server
	signer *tokenSigner // nil makes tokens that only this server can judge
	log    requestLog
	mu     sync.Mutex
	tokens map[string]grant
}

type grant struct {
	scopes  []string
	expires time.Time
	refresh bool // buys tokens instead of being one
}

const tokenService = "registry.pulltest"

// newTokenServer speaks https if there is a CA, and makes opaque tokens if there
// is no signer.
func newTokenServer(o TokenOptions, ca *testca.Authority, signer *tokenSigner) (*tokenServer, error) {
	if o.Lifetime == 0 {
		o.Lifetime = time.Minute
	}
	if o.Behave == nil {
		o.Behave = func(*http.Request) Behaviour { return Behaviour{} }
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting token server: %w", err)
	}
	s := &tokenServer{opts: o, signer: signer, tokens: map[string]grant{}}
	s.realm = "http://" + listener.Addr().String() + "/token"
	if ca != nil {
		listener = tls.NewListener(listener, ca.Config(false))
		s.realm = "https://" + listener.Addr().String() + "/token"
	}
	if o.Realm != "" {
		s.realm = o.Realm
	}
	s.server = &http.Server{
		Handler:     http.HandlerFunc(s.serve),
		ConnContext: withConn,
		ErrorLog:    log.New(io.Discard, "", 0),
	}
	go s.server.Serve(listener) // ends with close
	return s, nil
}

func (s *tokenServer) close() error { return s.server.Close() }

func (s *tokenServer) allow(w http.ResponseWriter, req *http.Request) bool {
	need := neededScope(req)
	token, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if s.valid(token, need) {
		return true
	}
	challenge := fmt.Sprintf("Bearer realm=%q,service=%q", s.realm, tokenService)
	if need != "" {
		challenge += fmt.Sprintf(",scope=%q", need)
	}
	if token != "" {
		challenge += `,error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

// neededScope is what a token must grant for the request; the base path is
// open to any token.
func neededScope(req *http.Request) string {
	repo := repository(req.URL.Path)
	switch {
	case repo == "":
		return ""
	case req.Method == http.MethodGet || req.Method == http.MethodHead:
		return "repository:" + repo + ":pull"
	default:
		return "repository:" + repo + ":pull,push"
	}
}

func (s *tokenServer) valid(token, need string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.tokens[token]
	if !ok || g.refresh || time.Now().After(g.expires) {
		return false
	}
	return need == "" || slices.ContainsFunc(g.scopes, func(scope string) bool {
		return covers(scope, need)
	})
}

// covers reports whether the scope held has the resource and every action of the
// one needed.
func covers(held, need string) bool {
	i, j := strings.LastIndexByte(held, ':'), strings.LastIndexByte(need, ':')
	if i < 0 || held[:i] != need[:j] {
		return false
	}
	actions := strings.Split(held[i+1:], ",")
	for _, action := range strings.Split(need[j+1:], ",") {
		if !slices.Contains(actions, action) {
			return false
		}
	}
	return true
}

func (s *tokenServer) serve(w http.ResponseWriter, req *http.Request) {
	entry := s.log.begin(req)
	counted := &countingWriter{ResponseWriter: w, log: &s.log, entry: entry}
	s.opts.Behave(req).answer(counted, req, http.HandlerFunc(s.token))
}

func (s *tokenServer) token(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodPost && s.opts.NoPost {
		writeError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "tokens are given to GET alone")
		return
	}
	if !s.known(req) {
		writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "wrong user or password")
		return
	}
	scopes := strings.Fields(strings.Join(req.Form["scope"], " "))
	token, err := s.issue(grant{scopes: scopes, expires: time.Now().Add(s.opts.Lifetime)})
	if err != nil {
		writeError(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	answer := map[string]any{
		"access_token": token,
		"expires_in":   int(s.opts.Lifetime.Seconds()),
		"issued_at":    time.Now().UTC().Format(time.RFC3339),
		"scope":        strings.Join(scopes, " "),
	}
	if req.Method == http.MethodGet {
		answer["token"] = token
	}
	if req.Form.Get("access_type") == "offline" || req.Form.Get("offline_token") == "true" {
		answer["refresh_token"] = s.remember(rand.Text(), grant{refresh: true})
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) // an error is the client's, who has gone
}

// known parses the form and checks what the client proves itself with.
func (s *tokenServer) known(req *http.Request) bool {
	if err := req.ParseForm(); err != nil {
		return false
	}
	want := s.opts.Credentials
	switch {
	case want == nil:
		return true
	case req.Method == http.MethodGet:
		return want.match(req)
	case req.Form.Get("grant_type") == "refresh_token":
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.tokens[req.Form.Get("refresh_token")].refresh
	default:
		return *want == Credentials{req.Form.Get("username"), req.Form.Get("password")}
	}
}

// issue makes a token that stands for g.
func (s *tokenServer) issue(g grant) (string, error) {
	if s.signer == nil {
		return s.remember(rand.Text(), g), nil
	}
	return s.signer.sign(g)
}

func (s *tokenServer) remember(token string, g grant) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = g
	return token
}

// ExpireTokens makes every token given out so far invalid. It does nothing on
// a registry without a token server.
func (r *Registry) ExpireTokens() {
	s, ok := r.auth.(*tokenServer)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, g := range s.tokens {
		if !g.refresh {
			delete(s.tokens, token)
		}
	}
}

// TokenRequests lists what the token server was asked, none if there is none.
func (r *Registry) TokenRequests() []Request {
	if s, ok := r.auth.(*tokenServer); ok {
		return s.log.snapshot()
	}
	return nil
}
