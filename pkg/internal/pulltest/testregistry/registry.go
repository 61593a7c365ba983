package testregistry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testca"
)

// Options says what kind of registry to start. The zero value speaks
// plain HTTP on a free port of 127.0.0.1 and answers every client.
type Options struct {
	// Addr is what to listen on, 127.0.0.1:0 if empty. On Linux every address
	// in 127.0.0.0/8 works without set-up: 127.0.0.2:0 is a second host.
	Addr string
	// TLS serves https with a certificate of a CA of its own; see CA.
	TLS bool
	// Names are those of the certificate, beside localhost and the loopback
	// addresses. A test that uses them has to lead clients from them to Addr.
	Names []string
	// ClientCert refuses clients without a certificate of that CA; see
	// ClientPair. It implies TLS.
	ClientCert bool
	// Basic asks for this user by basic authentication.
	Basic *Credentials
	// Token asks for a bearer token of a token server on a port of its own.
	Token *TokenOptions
	// Behave decides for each request how it is answered; nil answers all
	// honestly. SetBehave changes it later.
	Behave Behave
}

// Credentials are what a client proves itself with.
type Credentials struct{ User, Password string }

// Registry is an HTTP registry in this process. It stores images in memory,
// or serves blobs from the files they are in, and remembers what it was asked.
type Registry struct {
	opts     Options
	content  *content
	auth     authorizer
	ca       *testca.Authority
	addr     string // of the listener, kept over Stop and Start
	server   *http.Server
	listener net.Listener
	outage   io.Closer // what holds the address in place of the server, or nil
	behave   atomic.Pointer[Behave]
	log      requestLog
}

// content is what registries that mirror each other share. Documents and tags
// live in go-containerregistry's registry, which also handles pushes over
// HTTP; blobs are served here, because that registry knows no open-ended ranges and
// keeps everything in memory.
type content struct {
	handler http.Handler
	mu      sync.RWMutex
	blobs   map[digest.Digest]pulltest.Blob
	types   map[digest.Digest]string // media types of the documents that Push stored
}

// New starts a registry. The caller closes it.
func New(o Options) (*Registry, error) {
	return newRegistry(o, newContent())
}

func newContent() *content {
	c := &content{blobs: map[digest.Digest]pulltest.Blob{}, types: map[digest.Digest]string{}}
	c.handler = registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(c))
	return c
}

// Mirror starts another registry over the same content, with options, log and
// faults of its own. The caller closes it.
func (r *Registry) mirror(o Options) (*Registry, error) {
	return newRegistry(o, r.content)
}

func newRegistry(o Options, c *content) (*Registry, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	r := &Registry{opts: o, content: c, addr: o.Addr}
	r.SetBehave(o.Behave)
	if o.TLS || o.ClientCert {
		ca, err := testca.New(o.Names...)
		if err != nil {
			return nil, err
		}
		r.ca = ca
	}
	auth, err := newAuthorizer(o, r.ca)
	if err != nil {
		return nil, err
	}
	r.auth = auth
	if err := r.Start(); err != nil {
		return nil, errors.Join(err, auth.close())
	}
	return r, nil
}

// Start listens again after Stop or an outage, at the same address.
func (r *Registry) Start() error {
	if err := r.endOutage(); err != nil {
		return err
	}
	listener, err := listen(r.addr)
	if err != nil {
		return fmt.Errorf("starting registry: %w", err)
	}
	r.addr, r.listener = listener.Addr().String(), listener
	r.server = &http.Server{
		Handler:     http.HandlerFunc(r.serve),
		ConnContext: withConn,
		ErrorLog:    log.New(io.Discard, "", 0),
	}
	if r.ca != nil {
		r.server.TLSConfig = r.ca.Config(r.opts.ClientCert)
		go r.server.ServeTLS(listener, "", "") // ends with Stop
		return nil
	}
	go r.server.Serve(listener) // ends with Stop
	return nil
}

// Stop closes the listener and cuts all connections, as a registry that dies.
// Content and log stay.
func (r *Registry) Stop() error {
	// A server that has only just started does not know its listener yet. Most
	// do, and close it first.
	err := r.server.Close()
	if second := r.listener.Close(); !errors.Is(second, net.ErrClosed) {
		err = errors.Join(err, second)
	}
	return err
}

// listen waits for an address that was in use until now: a program that is just
// being started holds copies of the sockets of this one for some milliseconds.
func listen(addr string) (net.Listener, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		listener, err := net.Listen("tcp", addr)
		if !errors.Is(err, syscall.EADDRINUSE) || wait > time.Second {
			return listener, err
		}
		time.Sleep(wait)
	}
}

// Close stops the registry and its token server.
func (r *Registry) Close() error {
	return errors.Join(r.Stop(), r.endOutage(), r.auth.close())
}

func (r *Registry) endOutage() error {
	if r.outage == nil {
		return nil
	}
	err := r.outage.Close()
	r.outage = nil
	return err
}

// Host is what stands before the first slash of a reference, 127.0.0.1:40000
// for example.
func (r *Registry) Host() string { return r.addr }

// URL is the registry's address with its scheme.
func (r *Registry) URL() string {
	if r.ca != nil {
		return "https://" + r.addr
	}
	return "http://" + r.addr
}

// Ref completes "repository:tag" or "repository@digest" to a reference.
func (r *Registry) Ref(name string) string { return r.addr + "/" + name }

// CA is the PEM certificate that a client must trust to speak to a registry
// with TLS; nil without TLS.
func (r *Registry) CA() []byte { return r.ca.PEM() }

// ClientPair is a client certificate and its key in PEM that a registry with
// ClientCert accepts.
func (r *Registry) ClientPair() (cert, key []byte, err error) { return r.ca.ClientPair() }

// Client is an HTTP client that trusts the registry's CA and shows its client
// certificate, without credentials.
func (r *Registry) Client() *http.Client { return &http.Client{Transport: r.ca.Transport()} }

// SetBehave changes how requests are answered from now on; nil is honest.
func (r *Registry) SetBehave(b Behave) {
	if b == nil {
		b = func(*http.Request) Behaviour { return Behaviour{} }
	}
	r.behave.Store(&b)
}

// Push stores the image under "repository:tag", without a request. What the
// image leaves out is not stored, and nothing is checked: the registry serves
// what it was given.
func (r *Registry) Push(name string, img *pulltest.Image) error { return r.content.push(name, img) }

func (c *content) push(name string, img *pulltest.Image) error {
	repo, tag, err := splitTag(name)
	if err != nil {
		return err
	}
	c.add(img.Blobs()...)
	return c.putTree(repo, tag, img)
}

// AddBlob stores a blob that no image refers to, under the digest it claims.
func (r *Registry) AddBlob(b pulltest.Blob) { r.content.add(b) }

func (c *content) add(blobs ...pulltest.Blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range blobs {
		c.blobs[b.Digest] = b
	}
}

// putTree stores documents. They go under a type that the store behind does
// not know, since it would check an index; serveDocument puts theirs back.
func (c *content) putTree(repo, target string, img *pulltest.Image) error {
	for _, child := range img.Children {
		if err := c.putTree(repo, child.Desc.Digest.String(), child); err != nil {
			return err
		}
	}
	req := httptest.NewRequest(http.MethodPut, "/v2/"+repo+"/manifests/"+target, bytes.NewReader(img.Raw))
	req.Header.Set("Content-Type", "application/octet-stream")
	resp := httptest.NewRecorder()
	c.handler.ServeHTTP(resp, req)
	if resp.Code != http.StatusCreated {
		return fmt.Errorf("storing manifest %s: status %d: %s", img.Desc.Digest, resp.Code, resp.Body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.types[digest.FromBytes(img.Raw)] = img.Desc.MediaType
	return nil
}

func (c *content) mediaType(dgst digest.Digest) (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.types[dgst]
	return t, ok
}

func (c *content) blob(dgst digest.Digest) (pulltest.Blob, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	b, ok := c.blobs[dgst]
	return b, ok
}

// serveBlob answers GET and HEAD of a blob with everything that http.ServeContent
// knows: ranges of all forms, conditions, lengths.
func (c *content) serveBlob(w http.ResponseWriter, req *http.Request, dgst digest.Digest) {
	b, ok := c.blob(dgst)
	if !ok {
		writeError(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	body, err := b.Open()
	if err != nil {
		writeError(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", dgst.String())
	http.ServeContent(w, req, "", time.Time{}, body)
}

// Get, Stat and Put make content the blob store of go-containerregistry's
// registry, for pushes over HTTP.
func (c *content) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	b, ok := c.blob(digest.Digest(h.String()))
	if !ok {
		return nil, registry.ErrNotFound
	}
	return b.Open()
}

// Stat tells the size of a blob, or that there is none.
func (c *content) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	b, ok := c.blob(digest.Digest(h.String()))
	if !ok {
		return 0, registry.ErrNotFound
	}
	return b.Size, nil
}

// Put keeps a pushed blob in memory. The caller has wrapped rc so that wrong
// bytes are an error of reading.
func (c *content) Put(_ context.Context, _ string, _ v1.Hash, rc io.ReadCloser) error {
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	c.add(pulltest.NewBlob(data))
	return nil
}
