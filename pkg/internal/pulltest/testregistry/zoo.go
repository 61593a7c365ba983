package testregistry

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testca"
)

// The repositories of a Cage. Any other one does not exist.
const (
	PublicRepository  = "team/app"
	PrivateRepository = "team/private"
)

// Cage plays an Animal on loopback: its API, its token server and its storage, under
// their own names and with TLS, behind a proxy that leads there from every name.
type Cage struct {
	Animal
	Credentials Credentials

	content *content
	ca      *testca.Authority
	proxy   *httptest.Server
	inner   *http.Server
	conns   tunnels
	log     requestLog
	behave  atomic.Pointer[Behave]

	mu     sync.Mutex
	tokens map[string]visa
}

// visa is what a token is good for.
type visa struct {
	repository string // any if it is empty
	known      bool   // it was given for the credentials
}

// StartCage starts an animal that ends with the test.
func StartCage(t testing.TB, a Animal) *Cage {
	t.Helper()
	ca, err := testca.New(a.Hosts()...)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cage{
		Animal: a, Credentials: Credentials{"keeper", rand.Text()}, content: newContent(), ca: ca,
		conns: tunnels{make(chan net.Conn), make(chan struct{})}, tokens: map[string]visa{},
	}
	c.SetBehave(nil)
	c.inner = &http.Server{Handler: http.HandlerFunc(c.serve), ErrorLog: log.New(io.Discard, "", 0)}
	go c.inner.Serve(c.conns) // ends with Close
	c.proxy = httptest.NewServer(http.HandlerFunc(c.connect))
	t.Cleanup(func() {
		if err := errors.Join(c.inner.Close(), c.conns.Close()); err != nil {
			t.Errorf("closing the cage of %s: %v", a.Name, err)
		}
		c.proxy.Close()
	})
	return c
}

// Proxy is the URL of the proxy.
func (c *Cage) Proxy() string { return c.proxy.URL }

// CA is the PEM certificate that a client must trust.
func (c *Cage) CA() []byte { return c.ca.PEM() }

// Push stores the image under "repository:tag", without a request.
func (c *Cage) Push(name string, img *pulltest.Image) error { return c.content.push(name, img) }

// SetBehave changes how requests are answered from now on; nil is as the animal does.
func (c *Cage) SetBehave(b Behave) {
	if b == nil {
		b = func(*http.Request) Behaviour { return Behaviour{} }
	}
	c.behave.Store(&b)
}

// Limit has all requests for manifests refused as the animal does for a client that
// has used up its pulls.
func (c *Cage) Limit() {
	c.SetBehave(Always(Manifests, Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.TooMany.write(w) })}))
}

// Given lists the tokens that were given out.
func (c *Cage) Given() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.tokens))
}

// TakeRequests returns what was asked of any host since the last call.
func (c *Cage) TakeRequests() []Request {
	list := c.log.snapshot()
	c.log.update(func() { c.log.requests = nil })
	return list
}

// tunnels are the connections that clients have opened through the proxy.
type tunnels struct {
	open chan net.Conn
	done chan struct{}
}

// Accept implements net.Listener.
func (t tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-t.open:
		return conn, nil
	case <-t.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Closing the server has closed it before.
func (t tunnels) Close() error {
	select {
	case <-t.done:
	default:
		close(t.done)
	}
	return nil
}

// Addr implements net.Listener.
func (t tunnels) Addr() net.Addr { return &net.TCPAddr{} }

// connect is the proxy.
func (c *Cage) connect(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodConnect {
		http.Error(w, "this proxy leads to servers with TLS only", http.StatusForbidden)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	select {
	case c.conns.open <- tls.Server(conn, c.ca.Config(false)):
	case <-c.conns.done:
		conn.Close()
	}
}

func (c *Cage) serve(w http.ResponseWriter, req *http.Request) {
	counted := &countingWriter{ResponseWriter: w, log: &c.log, entry: c.log.begin(req)}
	(*c.behave.Load())(req).answer(counted, req, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for name, values := range c.Header {
			w.Header()[name] = values
		}
		realm, err := url.Parse(c.Realm)
		switch {
		case err == nil && c.Realm != "" && req.Host == realm.Host && req.URL.Path == realm.Path:
			c.token(w, req)
		case req.Host == c.API:
			c.answer(w, req)
		case req.Host == c.Storage:
			c.store(w, req)
		default:
			http.Error(w, "no such host", http.StatusBadGateway)
		}
	}))
}

// token is the token server.
func (c *Cage) token(w http.ResponseWriter, req *http.Request) {
	user, password, sent := req.BasicAuth()
	known := sent && c.Credentials == Credentials{user, password}
	repository := strings.TrimSuffix(strings.TrimPrefix(req.FormValue("scope"), "repository:"), ":pull")
	if !strings.Contains(c.Scope, "%s") {
		repository = ""
	}
	switch {
	case req.Method != http.MethodGet:
		http.NotFound(w, req)
	case sent && !known:
		c.Wrong.write(w)
	case c.AtToken && repository == PrivateRepository && !known:
		c.Anonymous.write(w)
	case c.AtToken && repository != PrivateRepository && repository != PublicRepository:
		c.NoRepository.write(w)
	default:
		text := rand.Text()
		c.mu.Lock()
		c.tokens[text] = visa{repository, known}
		c.mu.Unlock()
		answer := map[string]any{"expires_in": 300, "access_token": "", "token": ""}
		for _, name := range c.Tokens {
			answer[name] = text
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer) // an error is the client's, who has gone
	}
}

// answer is the API.
func (c *Cage) answer(w http.ResponseWriter, req *http.Request) {
	repository := repository(req.URL.Path)
	visitor, admitted := c.admit(req, repository)
	if !admitted {
		c.challenge(w, req, repository)
		return
	}
	if repository == PrivateRepository && !visitor.known {
		if c.Anonymous.Status == http.StatusUnauthorized {
			c.announce(w, repository)
		}
		c.Anonymous.write(w)
		return
	}
	if repository != PrivateRepository && repository != PublicRepository {
		c.NoRepository.write(w)
		return
	}
	if dgst, ok := blobOf(req); ok {
		if c.Storage != "" {
			http.Redirect(w, req, "https://"+c.Storage+"/objects/"+dgst.String()+"?X-Amz-Signature="+Signature, c.Redirect)
			return
		}
		c.content.serveBlob(w, req, dgst)
		return
	}
	if kind, _ := target(req.URL.Path); kind == "tags" {
		c.list(w, req, repository)
		return
	}
	answer := httptest.NewRecorder()
	c.content.serveDocument(answer, req)
	if answer.Code == http.StatusNotFound {
		c.NoTag.write(w)
		return
	}
	for name, values := range answer.Header() {
		if c.LowerCase && strings.HasPrefix(name, "Docker-") {
			name = strings.ToLower(name)
		}
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	io.Copy(w, answer.Body) // an error is the client's, who has gone
}

// list gives the tags of a repository, two at a time.
func (c *Cage) list(w http.ResponseWriter, req *http.Request, repository string) {
	whole := req.Clone(req.Context())
	whole.URL.RawQuery = ""
	answer := httptest.NewRecorder()
	c.content.serveDocument(answer, whole)
	var page struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &page); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	after := cmp.Or(req.FormValue("last"), req.FormValue("next_page"))
	page.Tags = slices.DeleteFunc(page.Tags, func(tag string) bool { return tag <= after })
	slices.Sort(page.Tags)
	if len(page.Tags) > 2 {
		page.Tags = page.Tags[:2]
		next := fmt.Sprintf(cmp.Or(c.Next, "/v2/%[2]s/tags/list?n=2&last=%[3]s"), c.API, repository, page.Tags[1])
		w.Header().Set("Link", "<"+next+`>; rel="next"`)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(page) // an error is the client's, who has gone
}

// Signature makes a URL of the storage a secret.
const Signature = "cage-signature"

// admit finds out who asks. It is false for a client who has to prove something first.
func (c *Cage) admit(req *http.Request, repository string) (visa, bool) {
	if c.Realm == "" {
		user, password, sent := req.BasicAuth()
		return visa{known: sent && c.Credentials == Credentials{user, password}}, !c.Guarded && !sent || c.Credentials == Credentials{user, password}
	}
	text, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	c.mu.Lock()
	defer c.mu.Unlock()
	v, given := c.tokens[text]
	return v, ok && given && (v.repository == "" || v.repository == repository)
}

// challenge refuses a client who has proven nothing, or the wrong thing.
func (c *Cage) challenge(w http.ResponseWriter, req *http.Request, repository string) {
	if c.Realm == "" && req.Header.Get("Authorization") != "" {
		if c.Wrong.Status == http.StatusUnauthorized {
			c.announce(w, repository)
		}
		c.Wrong.write(w)
		return
	}
	c.announce(w, repository)
	c.Anonymous.with(http.StatusUnauthorized).write(w)
}

// announce says how a client may prove who it is.
func (c *Cage) announce(w http.ResponseWriter, repository string) {
	lines := slices.Clone(c.Challenges)
	if c.Realm != "" {
		line := fmt.Sprintf("Bearer realm=%q,service=%q", c.Realm, c.Service)
		if scope := strings.ReplaceAll(c.Scope, "%s", repository); scope != "" {
			line += fmt.Sprintf(",scope=%q", scope)
		}
		lines = append(lines, line)
	}
	name := "Www-Authenticate"
	if c.LowerCase {
		name = strings.ToLower(name)
	}
	w.Header()[name] = lines
}

// store is the object store behind the API, which refuses credentials that are not
// its own.
func (c *Cage) store(w http.ResponseWriter, req *http.Request) {
	dgst := strings.TrimPrefix(req.URL.Path, "/objects/")
	switch {
	case req.Header.Get("Authorization") != "":
		Refusal{400, "application/xml", `<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>`, nil}.write(w)
	case req.URL.Query().Get("X-Amz-Signature") != Signature:
		Refusal{403, "application/xml", `<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`, nil}.write(w)
	default:
		c.content.serveBlob(w, req, digest.Digest(dgst))
	}
}
