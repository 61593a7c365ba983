package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// tokenRegistry is a registry with its token server. It accepts the token that
// was given out last.
type tokenRegistry struct {
	*fake
	tokens  *fake
	mu      sync.Mutex
	current string
	issued  int
	// answer overrides what the token server says.
	answer http.HandlerFunc
	// life is the token's expires_in.
	life string
}

func serveTokens(t *testing.T) *tokenRegistry {
	t.Helper()
	s := &tokenRegistry{life: "300"}
	s.tokens = serve(t, func(w http.ResponseWriter, req *http.Request) {
		if s.answer != nil {
			s.answer(w, req)
			return
		}
		s.issue(w, req)
	})
	s.fake = serve(t, func(w http.ResponseWriter, req *http.Request) {
		s.mu.Lock()
		ok := s.current != "" && req.Header.Get("Authorization") == "Bearer "+s.current
		s.mu.Unlock()
		if ok {
			writeManifest(w, manifestJSON(t))
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:a/b:pull"`, s.tokens.URL))
		w.WriteHeader(http.StatusUnauthorized)
	})
	return s
}

func (s *tokenRegistry) issue(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	s.current = fmt.Sprintf("canary-token-%d", s.issued)
	fmt.Fprintf(w, `{"token":%q,"expires_in":%s}`, s.current, s.life)
}

// expire makes the registry forget the token.
func (s *tokenRegistry) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = "nothing that was given out"
}

// everywhere gives c to every host.
func everywhere(c credential.Credential) credential.Finder {
	return func(context.Context, string, source.Ref) (credential.Credential, error) { return c, nil }
}

// onlyAt has a credential for one host.
func onlyAt(host string, c credential.Credential) credential.Finder {
	return func(_ context.Context, asked string, _ source.Ref) (credential.Credential, error) {
		if asked != host {
			return credential.Credential{}, nil
		}
		return c, nil
	}
}

func TestAnonymousToken(t *testing.T) {
	srv := serveTokens(t)
	r := open(t, registry.Options{})
	for range 2 {
		if _, err := r.Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"GET /token"}, srv.tokens.seen()); diff != "" {
		t.Errorf("token requests (-want +got):\n%s", diff)
	}
	req := srv.tokens.last(t)
	want := url.Values{"service": {"test"}, "scope": {"repository:a/b:pull"}}
	if diff := cmp.Diff(want, req.URL.Query()); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	if req.Header.Get("Authorization") != "" || srv.count() != 3 {
		t.Errorf("got Authorization %q and %d requests, want none and 3: 401, then twice with the token", req.Header.Get("Authorization"), srv.count())
	}
}

func TestTokenWithPassword(t *testing.T) {
	srv := serveTokens(t)
	srv.answer = func(w http.ResponseWriter, req *http.Request) {
		if u, p, _ := req.BasicAuth(); u != "me" || p != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		srv.issue(w, req)
	}
	good := open(t, registry.Options{Credentials: everywhere(credential.Credential{Username: "me", Password: "right"})})
	if _, err := good.Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
		t.Fatal(err)
	}
	before := srv.tokens.count()
	bad := open(t, registry.Options{Credentials: everywhere(credential.Credential{Username: "me", Password: "wrong"})})
	for i := range 2 { // a failure is not remembered
		if _, err := bad.Resolve(t.Context(), srv.ref(t, "a/b")); !errdefs.IsUnauthorized(err) {
			t.Errorf("got %v, want unauthenticated", err)
		}
		if got := srv.tokens.count() - before; got != i+1 {
			t.Errorf("got %d token requests, want %d", got, i+1)
		}
	}
}

// TestManyRequestsShareOneToken holds the token back until all who need it have
// asked.
func TestManyRequestsShareOneToken(t *testing.T) {
	const requests = 12
	srv := serveTokens(t)
	var started sync.WaitGroup
	started.Add(requests)
	srv.answer = func(w http.ResponseWriter, req *http.Request) {
		started.Wait()
		srv.issue(w, req)
	}
	var asked atomic.Int64
	r := open(t, registry.Options{Credentials: func(context.Context, string, source.Ref) (credential.Credential, error) {
		asked.Add(1)
		return credential.Credential{}, nil
	}})
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			started.Done()
			if _, err := r.Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if srv.tokens.count() != 1 || asked.Load() != 1 {
		t.Errorf("got %d token requests and %d questions for a credential, want 1 and 1", srv.tokens.count(), asked.Load())
	}
}

func TestTokenIsRenewed(t *testing.T) {
	srv := serveTokens(t)
	r := open(t, registry.Options{})
	for i := range 3 {
		if _, err := r.Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
			t.Fatal(err)
		}
		if srv.tokens.count() != i+1 {
			t.Errorf("got %d token requests, want %d", srv.tokens.count(), i+1)
		}
		srv.expire()
	}
}

func TestTokenThatExpiresIsReplacedBefore(t *testing.T) {
	srv := serveTokens(t)
	srv.life = "1e-9" // one nanosecond
	r := open(t, registry.Options{})
	for range 2 {
		if _, err := r.Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
			t.Fatal(err)
		}
	}
	if srv.tokens.count() != 2 || srv.count() != 3 {
		t.Errorf("got %d token requests and %d others, want 2 and 3: no 401 for the second", srv.tokens.count(), srv.count())
	}
}

func TestIdentityToken(t *testing.T) {
	for _, refusal := range []int{0, 400, 401, 404, 405} {
		t.Run(fmt.Sprint(refusal), func(t *testing.T) {
			srv := serveTokens(t)
			var form url.Values
			srv.answer = func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodPost {
					req.ParseForm()
					form = req.PostForm
					if refusal != 0 {
						w.WriteHeader(refusal)
						return
					}
				} else if u, p, _ := req.BasicAuth(); u != "id" || p != "refresh-me" {
					t.Errorf("got basic %q:%q, want the identity token", u, p)
				}
				srv.issue(w, req)
			}
			r := open(t, registry.Options{Credentials: everywhere(credential.Credential{Username: "id", IdentityToken: "refresh-me"})})
			if _, err := r.Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
				t.Fatal(err)
			}
			want := url.Values{
				"grant_type": {"refresh_token"}, "refresh_token": {"refresh-me"}, "client_id": {"containerd-pull"},
				"service": {"test"}, "scope": {"repository:a/b:pull"},
			}
			if diff := cmp.Diff(want, form); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
			seen := []string{"POST /token"}
			if refusal != 0 {
				seen = append(seen, "GET /token")
			}
			if diff := cmp.Diff(seen, srv.tokens.seen()); diff != "" {
				t.Errorf("token requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRegistryToken(t *testing.T) {
	srv := serveTokens(t)
	srv.current = "long-lived"
	r := open(t, registry.Options{Credentials: everywhere(credential.Credential{RegistryToken: "long-lived"})})
	if _, err := r.Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
		t.Fatal(err)
	}
	srv.expire()
	if _, err := r.Resolve(t.Context(), srv.ref(t, "a/b")); !errdefs.IsUnauthorized(err) {
		t.Errorf("got %v, want unauthenticated", err)
	}
	if srv.tokens.count() != 0 {
		t.Errorf("got %d token requests, want none", srv.tokens.count())
	}
}

func TestBasic(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if u, p, _ := req.BasicAuth(); u == "me" && p == "right" {
			writeManifest(w, manifestJSON(t))
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	ref := srv.ref(t, "a/b")
	tests := []struct {
		name     string
		cred     credential.Credential
		requests int
		says     string
	}{
		{"right", credential.Credential{Username: "me", Password: "right"}, 2, ""},
		{"wrong", credential.Credential{Username: "me", Password: "wrong", Source: "profile x"}, 2, "from profile x was refused"},
		{"none", credential.Credential{}, 1, "there is none for this host"},
		{"of the wrong kind", credential.Credential{IdentityToken: "x"}, 1, "there is none for this host"},
	}
	for _, tt := range tests {
		before := srv.count()
		_, err := open(t, registry.Options{Credentials: everywhere(tt.cred)}).Resolve(t.Context(), ref)
		if (tt.says == "") != (err == nil) || (err != nil && (!errdefs.IsUnauthorized(err) || !strings.Contains(err.Error(), tt.says))) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
		if got := srv.count() - before; got != tt.requests {
			t.Errorf("%s: got %d requests, want %d", tt.name, got, tt.requests)
		}
	}
}

func TestRefusedAgainAfterTheToken(t *testing.T) {
	srv := serveTokens(t)
	srv.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"not-good-enough"}`) }
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "a/b"))
	if !errdefs.IsUnauthorized(err) || !strings.Contains(err.Error(), "no credential for this host") {
		t.Errorf("got %v, want to hear that there was no credential", err)
	}
	if srv.count() != 2 {
		t.Errorf("got %d requests, want 2", srv.count())
	}
}

func TestCredentialsThatFail(t *testing.T) {
	srv := serveTokens(t)
	why := errors.New("the helper has no agent")
	r := open(t, registry.Options{Credentials: func(context.Context, string, source.Ref) (credential.Credential, error) {
		return credential.Credential{}, why
	}})
	_, err := r.Resolve(t.Context(), srv.ref(t, "a/b"))
	if !errdefs.IsUnauthorized(err) || !errors.Is(err, why) || srv.tokens.count() != 0 {
		t.Errorf("got %v after %d token requests, want the helper's error and no anonymous request", err, srv.tokens.count())
	}
}

func TestUselessChallenges(t *testing.T) {
	for _, challenge := range []string{
		"", "Negotiate", `Digest realm="x"`, "Bearer", `Bearer realm=""`, `Bearer realm="ftp://example.com/token"`,
		`Bearer realm="://"`, `Bearer realm="/token"`, `Bearer realm="http://169.254.169.254/latest"`,
	} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		})
		_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "a"))
		if !errdefs.IsUnauthorized(err) || srv.count() != 1 {
			t.Errorf("%q: got %v after %d requests, want unauthenticated after 1", challenge, err, srv.count())
		}
	}
}

// TestTokenServerAnswers fails with the class of each answer. What may be a token in
// another form than expected is not repeated.
func TestTokenServerAnswers(t *testing.T) {
	tests := []struct {
		name     string
		answer   http.HandlerFunc
		is       func(error) bool
		requests int
	}{
		{"no token", body(`{"expires_in":3}`), errdefs.IsUnauthorized, 1},
		{"text", body("canary"), errdefs.IsUnauthorized, 1},
		{"JSON of text", body(`"canary"`), errdefs.IsUnauthorized, 1},
		{"list", body(`["canary"]`), errdefs.IsUnauthorized, 1},
		{"form", body("access_token=canary&expires_in=3"), errdefs.IsUnauthorized, 1},
		{"XML", body("<Error><Message>canary</Message></Error>"), errdefs.IsUnauthorized, 1},
		{"byte order mark", body("\ufeff" + `{"token":"canary"}`), errdefs.IsUnauthorized, 1},
		{"half an object", body(`{"token":"canary"`), errdefs.IsUnauthorized, 1},
		{"other names", body(`{"jwt":"canary","Token":["canary"]}`), errdefs.IsUnauthorized, 1},
		{"line break in the token", body(`{"token":"canary\nX-Evil: b"}`), errdefs.IsUnauthorized, 1},
		{"too long", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"token":"x","pad":"`+strings.Repeat("x", 1<<20)+`"}`)
		}, errdefs.IsUnauthorized, 1},
		{"404", status(404), errdefs.IsUnauthorized, 1},
		{"403", status(403), errdefs.IsPermissionDenied, 1},
		{"503", status(503), errdefs.IsUnavailable, 4},
		{"429", status(429), errdefs.IsResourceExhausted, 4},
		{"cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, errdefs.IsUnavailable, 4},
		{"cut body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"tok`)
			panic(http.ErrAbortHandler)
		}, errdefs.IsUnavailable, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := serveTokens(t)
			srv.answer = tt.answer
			_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "a/b"))
			if !tt.is(err) || srv.tokens.count() != tt.requests {
				t.Errorf("got %v after %d token requests, want another class after %d", err, srv.tokens.count(), tt.requests)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, want nothing of what may be a token", err)
			}
		})
	}
}

func TestTokenServerRecovers(t *testing.T) {
	srv := serveTokens(t)
	srv.answer = inTurn(status(503), status(502), srv.issue)
	if _, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "a/b")); err != nil {
		t.Errorf("got %v, want the third try to succeed", err)
	}
}

func body(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// world is a proxy behind which there are registries of any name.
func world(t *testing.T, sites map[string]http.HandlerFunc) *fake {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, req *http.Request) {
		if h := sites[req.Host]; h != nil {
			h(w, req)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	})
}

// arrived lists the requests to host that carried text.
func (f *fake) arrived(host, text string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, req := range f.requests {
		if whole, _ := json.Marshal(req.Header); req.Host == host && strings.Contains(string(whole)+req.URL.String(), text) {
			n++
		}
	}
	return n
}

func challengeTo(t *testing.T, realm string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") == "Bearer good" {
			writeManifest(w, manifestJSON(t))
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="s"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// The rules for token servers, each with and without a credential. The
// registries are plain HTTP behind a proxy, so that any name may be used.
func TestRealms(t *testing.T) {
	const (
		password = "canary-password"
		basic    = "bWU6Y2FuYXJ5LXBhc3N3b3Jk" // me:canary-password
		token    = `{"token":"good"}`
	)
	tests := []struct {
		name       string
		reg, realm string // hosts
		listed     []string
		with       bool // the credential may go there
		without    bool // it may be asked anonymously
	}{
		{"itself", "registry.example.com", "registry.example.com", nil, true, true},
		{"other port", "registry.example.com", "registry.example.com:8080", nil, true, true},
		{"same domain", "registry.example.co.uk", "auth.example.co.uk", nil, true, true},
		{"same suffix only", "registry.a.co.uk", "auth.b.co.uk", nil, false, true},
		{"hosting suffix", "one.github.io", "two.github.io", nil, false, true},
		{"other domain", "registry.example.com", "auth.example.org", nil, false, true},
		{"lookalike", "registry.example.com", "registry.example.com.evil.net", nil, false, true},
		{"listed", "registry.example.com", "auth.example.org", []string{"auth.example.org"}, true, true},
		{"listed with port", "registry.example.com", "auth.example.org:81", []string{"auth.example.org:81"}, true, true},
		{"other port listed", "registry.example.com", "auth.example.org:82", []string{"auth.example.org:81"}, false, true},
		{"loopback", "registry.example.com", "127.0.0.1:1", nil, false, false},
		{"localhost", "registry.example.com", "localhost", nil, false, false},
		{"private", "registry.example.com", "10.0.0.1", nil, false, false},
		{"carrier", "registry.example.com", "100.100.100.200", nil, false, false},
		{"mapped", "registry.example.com", "[::ffff:127.0.0.1]", nil, false, false},
		{"private from private", "10.0.0.1", "10.0.0.2", nil, false, false},
		{"own address", "10.0.0.1", "10.0.0.1:81", nil, true, true},
		{"listed private", "registry.example.com", "10.0.0.1", []string{"10.0.0.1"}, true, true},
		{"known pair", "rg.fr-par.scw.cloud", "api.scaleway.com", nil, true, true},
		{"known server of others", "registry.example.com", "api.scaleway.com", nil, false, true},
		{"link-local", "registry.example.com", "169.254.169.254", []string{"169.254.169.254"}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sites := map[string]http.HandlerFunc{
				tt.reg: challengeTo(t, "http://"+tt.realm+"/token"),
			}
			if tt.reg == tt.realm {
				challenge := sites[tt.reg]
				sites[tt.reg] = func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path == "/token" {
						io.WriteString(w, token)
						return
					}
					challenge(w, req)
				}
			} else {
				sites[tt.realm] = body(token)
			}
			net := world(t, sites)
			for _, with := range []bool{true, false} {
				o := registry.Options{Proxy: net.URL, Hosts: hosts.Options{PlainHTTP: true}, TokenHosts: tt.listed}
				want := tt.without
				if with {
					o.Credentials, want = everywhere(credential.Credential{Username: "me", Password: password}), tt.with
				}
				_, err := open(t, o).Resolve(t.Context(), parse(t, tt.reg+"/a"))
				if (err == nil) != want || (err != nil && !errdefs.IsUnauthorized(err)) {
					t.Errorf("with a credential %v: got %v, want success %v", with, err, want)
				}
				// The setting to write (Scaleway, gitea#28039).
				if hint := failure.HintOf(err); err != nil && tt.listed == nil && !strings.Contains(hint, `token_hosts = ["`+tt.realm+`"]`) {
					t.Errorf("with a credential %v: got hint %q, want the setting", with, hint)
				}
			}
			if got := net.arrived(tt.realm, basic); (got > 0) != tt.with {
				t.Errorf("got the credential %d times at %s, want it there: %v", got, tt.realm, tt.with)
			}
		})
	}
}

func TestTokenServerRedirects(t *testing.T) {
	const basic = "bWU6Y2FuYXJ5LXBhc3N3b3Jk"
	withPassword := everywhere(credential.Credential{Username: "me", Password: "canary-password"})
	to := func(target string) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, target, http.StatusTemporaryRedirect)
		}
	}
	tests := []struct {
		name, target string
		creds        credential.Finder
		ok           bool
		arrives      int // the credential, at the target
	}{
		{"anonymously to another domain", "http://evil.net/token", nil, true, 0},
		{"with a credential to another domain", "http://evil.net/token", withPassword, false, 0},
		{"with a credential to the same domain", "http://other.example.com/token", withPassword, true, 1},
		{"with a form to the same domain", "http://other.example.com/token", everywhere(credential.Credential{IdentityToken: "canary"}), false, 0},
		{"into the private network", "http://10.0.0.1/token", nil, false, 0},
		{"to another scheme", "file:///etc/passwd", nil, false, 0},
		{"nowhere", "", nil, false, 0},
		{"in a circle", "http://auth.example.com/token", nil, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			net := world(t, map[string]http.HandlerFunc{
				"registry.example.com": challengeTo(t, "http://auth.example.com/token"),
				"auth.example.com":     to(tt.target),
				"other.example.com":    body(`{"token":"good"}`),
				"evil.net":             body(`{"token":"good"}`),
				"10.0.0.1":             body(`{"token":"good"}`),
			})
			o := registry.Options{Proxy: net.URL, Hosts: hosts.Options{PlainHTTP: true}, Credentials: tt.creds}
			_, err := open(t, o).Resolve(t.Context(), parse(t, "registry.example.com/a"))
			if (err == nil) != tt.ok || (err != nil && !errdefs.IsUnauthorized(err)) {
				t.Errorf("got %v, want success: %v", err, tt.ok)
			}
			u, _ := url.Parse(tt.target)
			if u.Host == "auth.example.com" {
				return
			}
			if got := net.arrived(u.Host, basic); got != tt.arrives {
				t.Errorf("got the credential %d times at %s, want %d", got, u.Host, tt.arrives)
			}
		})
	}
}

func TestRealmWithoutTLS(t *testing.T) {
	srv := unstarted(t, "127.0.0.1", nil)
	plain := serve(t, body(`{"token":"good"}`))
	srv.Config.Handler = challengeTo(t, plain.URL+"/token")
	srv.StartTLS()
	_, err := open(t, registry.Options{Hosts: hosts.Options{SkipVerify: true}}).Resolve(t.Context(), srv.ref(t, "a"))
	if !errdefs.IsUnauthorized(err) || plain.count() != 0 {
		t.Errorf("got %v after %d requests to the plain server, want unauthenticated after none", err, plain.count())
	}
}

func TestLogin(t *testing.T) {
	right := &testregistry.Credentials{User: "me", Password: "canary"}
	for name, o := range map[string]testregistry.Options{
		"basic": {Basic: right},
		"token": {Token: &testregistry.TokenOptions{Credentials: right}},
		"open":  {},
	} {
		t.Run(name, func(t *testing.T) {
			server := testregistry.Start(t, o)
			login := func(password string) error {
				r, err := registry.New(registry.Options{Credentials: everywhere(credential.Credential{Username: "me", Password: password})})
				if err != nil {
					t.Fatal(err)
				}
				return r.Login(t.Context(), server.Host())
			}
			if err := login("canary"); err != nil {
				t.Errorf("with the right password: %v", err)
			}
			if err := login("wrong"); name != "open" && !errdefs.IsUnauthorized(err) {
				t.Errorf("with a wrong password: got %v, want an error of class unauthenticated", err)
			}
			for _, r := range server.TokenRequests() {
				if strings.Contains(r.Query, "scope") {
					t.Errorf("query to the token server: got %q, want no scope, because a login is at no repository", r.Query)
				}
			}
		})
	}
}

// TestLoginByIdentityToken asks the token server by its other protocol, where
// the scope stands in a form.
func TestLoginByIdentityToken(t *testing.T) {
	forms := make(chan url.Values, 10)
	tokens := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if err := req.ParseForm(); err != nil {
			t.Error(err)
		}
		forms <- req.PostForm
		fmt.Fprint(w, `{"access_token":"short-lived"}`)
	})
	server := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer short-lived" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	r := open(t, registry.Options{Credentials: everywhere(credential.Credential{IdentityToken: "canary"})})
	if err := r.Login(t.Context(), server.host()); err != nil {
		t.Fatal(err)
	}
	got := <-forms
	want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"canary"}, "client_id": {"containerd-pull"}, "service": {"s"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
}

// TestLoginByARepositorysCredential: a login is at no repository, so that a
// credential for some of the host's serves.
func TestLoginByARepositorysCredential(t *testing.T) {
	server := testregistry.Start(t, testregistry.Options{Basic: &testregistry.Credentials{User: "me", Password: "canary"}})
	for pattern, want := range map[string]bool{server.Host() + "/team/*": true, "*:*/team/app": true, "*/team/app": false, "r.example.com/team/*": false} {
		find, err := credential.New(credential.Options{
			Entries: []credential.Entry{{Match: []string{pattern}, Source: "password", Username: "me", Password: "canary"}},
			Lookup:  func(string) (string, bool) { return "", false },
		})
		if err != nil {
			t.Fatal(err)
		}
		err = open(t, registry.Options{Credentials: find}).Login(t.Context(), server.Host())
		if got := err == nil; got != want {
			t.Errorf("login by the credential of %s: got %v, want success: %v", pattern, err, want)
		}
	}
}
