package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// fake is an HTTP server that remembers what it was asked.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	conns    int
}

func serve(t *testing.T, handler http.HandlerFunc) *fake {
	t.Helper()
	return serveAt(t, "127.0.0.1", handler)
}

// serveAt listens on another loopback address, which makes it another host.
func serveAt(t *testing.T, ip string, handler http.HandlerFunc) *fake {
	t.Helper()
	f := unstarted(t, ip, handler)
	f.Start()
	return f
}

func unstarted(t *testing.T, ip string, handler http.HandlerFunc) *fake {
	t.Helper()
	f := &fake{}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f.mu.Lock()
		f.requests = append(f.requests, req.Clone(t.Context()))
		f.mu.Unlock()
		handler(w, req)
	}))
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.mu.Lock()
			f.conns++
			f.mu.Unlock()
		}
	}
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatalf("listening on %s: %v", ip, err)
	}
	f.Listener.Close()
	f.Listener = l
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// host is the host:port of the server.
func (f *fake) host() string { return f.Listener.Addr().String() }

func (f *fake) ref(t *testing.T, rest string) source.Ref {
	t.Helper()
	return parse(t, f.host()+"/"+rest)
}

// seen lists method and path of the requests.
func (f *fake) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, req := range f.requests {
		list = append(list, req.Method+" "+req.URL.Path)
	}
	return list
}

func (f *fake) last(t *testing.T) *http.Request {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) == 0 {
		t.Fatal("got no request, want one")
	}
	return f.requests[len(f.requests)-1]
}

func (f *fake) count() int { return len(f.seen()) }

// mustNotHold fails if text arrived anywhere in a request.
func (f *fake) mustNotHold(t *testing.T, texts ...string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, req := range f.requests {
		whole := fmt.Sprint(req.URL, req.Header, req.Form)
		for _, text := range texts {
			if strings.Contains(whole, text) {
				t.Errorf("got %q at %s in %s, want it to stay away", text, f.host(), whole)
			}
		}
		if len(req.Header["Authorization"]) > 0 {
			t.Errorf("got Authorization %q at %s, want none", req.Header["Authorization"], f.host())
		}
	}
}

func parse(t *testing.T, s string) source.Ref {
	t.Helper()
	ref, err := source.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// events collects what Options.Progress gets.
type events struct {
	mu   sync.Mutex
	list []progress.Event
}

func (e *events) add(event progress.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) kinds() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var kinds []string
	for _, event := range e.list {
		kinds = append(kinds, string(event.Kind)+" "+event.Reason)
	}
	return kinds
}

// retries lists the waits before further tries. How long a test took says nothing on a
// machine that has other work.
func (e *events) retries() (waits []time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.list {
		if event.Kind == progress.Retry {
			waits = append(waits, event.Wait)
		}
	}
	return waits
}

// isBrief reports whether there was one more try, after more than a second and so that
// the end is told within two.
func (e *events) isBrief() bool {
	waits := e.retries()
	return len(waits) == 1 && waits[0] >= 1200*time.Millisecond && waits[0] <= 1450*time.Millisecond
}

// open makes a Registry that does not wait long for anything.
func open(t *testing.T, o registry.Options) *registry.Registry {
	t.Helper()
	if o.Retry == (registry.Retry{}) {
		o.Retry = registry.Retry{Count: 3, Delay: time.Millisecond}
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = 2 * time.Second
	}
	r, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// manifestJSON is a small image manifest without layers.
func manifestJSON(t *testing.T) []byte {
	t.Helper()
	return encode(t, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    describe(ocispec.MediaTypeImageConfig, []byte("{}")),
		Layers:    []ocispec.Descriptor{},
	})
}

func indexJSON(t *testing.T) []byte {
	t.Helper()
	return encode(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{describe(ocispec.MediaTypeImageManifest, manifestJSON(t))},
	})
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func describe(mediaType string, body []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
}

// manifest answers every request with body as a manifest of its own type.
func manifest(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeManifest(w, body) }
}

func writeManifest(w http.ResponseWriter, body []byte) {
	var doc struct{ MediaType string }
	if json.Unmarshal(body, &doc) == nil {
		w.Header().Set("Content-Type", doc.MediaType)
	}
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(body).String())
	w.Write(body)
}

// inTurn answers the first request with the first handler and so on; the last
// one stays.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		h := handlers[0]
		if len(handlers) > 1 {
			handlers = handlers[1:]
		}
		mu.Unlock()
		h(w, req)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// hostsDir writes a hosts.toml for a registry and returns the directory.
func hostsDir(t *testing.T, name, toml string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, name, "hosts.toml"), toml)
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustHave(t *testing.T, list []string, want string) {
	t.Helper()
	if !slices.Contains(list, want) {
		t.Errorf("got %q, want %q among them", list, want)
	}
}

func contextWithCause(t *testing.T) (context.Context, context.CancelCauseFunc) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, cancel
}
