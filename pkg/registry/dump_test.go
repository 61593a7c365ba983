package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// buffer may be written from many goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A3: secrets of every kind pass through, and none is shown.
func TestDumpMasksSecrets(t *testing.T) {
	blob := []byte("the bytes of a layer")
	cdn := serveAt(t, "127.0.0.2", content(blob))
	tokens := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "canary-cookie")
		fmt.Fprint(w, `{"token":"canary-token","refresh_token":"canary-refresh"}`)
	})
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Unknown", "canary-unknown")
		switch {
		case req.Header.Get("Authorization") != "Bearer canary-token":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/?canary-realm",service="s"`, tokens.URL))
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(req.URL.Path, "/blobs/"):
			http.Redirect(w, req, cdn.URL+"/x?signature=canary-query", http.StatusFound)
		case strings.HasSuffix(req.URL.Path, "missing"):
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[{"code":"UNKNOWN","message":"you sent canary-token and canary-password"}]}`)
		default:
			writeManifest(w, manifestJSON(t))
		}
	})
	dir := hostsDir(t, srv.host(), "server = \""+srv.URL+"\"\n[header]\nx-canary = \"canary-header\"\n")
	var dump, trace buffer
	var e events
	r := open(t, registry.Options{
		Hosts: hosts.Options{Dirs: []string{dir}}, Dump: &dump, Trace: &trace, Progress: e.add,
		Credentials: everywhere(credential.Credential{Username: "me", Password: "canary-password"}),
	})
	if _, err := r.Resolve(t.Context(), srv.ref(t, "a:v1")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(t, r, srv.ref(t, "a"), blob, source.Range{}); err != nil {
		t.Fatal(err)
	}
	_, err := r.Resolve(t.Context(), srv.ref(t, "a:missing"))
	all := dump.String() + trace.String() + fmt.Sprint(err, e.list)
	for _, secret := range []string{"canary", "bWU6Y2FuYXJ5LXBhc3N3b3Jk", string(blob)} {
		if i := strings.Index(all, secret); i >= 0 {
			t.Errorf("got %q in …%s…, want it masked", secret, all[max(0, i-80):min(len(all), i+80)])
		}
	}
	for _, want := range []string{
		"> GET " + srv.URL + "/v2/a/manifests/v1\n", "> Authorization: [masked]\n", "< 200 OK", "< 401 Unauthorized", "< 404 Not Found",
		"> X-Canary: [masked]\n", "< Location: " + cdn.URL + "/x?[masked]\n", "\"mediaType\"", "< Content-Type: application/vnd.oci.image.manifest",
	} {
		if !strings.Contains(dump.String(), want) {
			t.Errorf("got no %q in the dump:\n%s", want, dump.String())
		}
	}
	for _, want := range []string{"connecting to " + srv.host(), "connection ready, reused: true", "first byte"} {
		if !strings.Contains(trace.String(), want) {
			t.Errorf("got no %q in the trace:\n%s", want, trace.String())
		}
	}
}

func TestDumpShowsFailures(t *testing.T) {
	var dump buffer
	srv := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	r := open(t, registry.Options{Dump: &dump, Hosts: hosts.Options{PlainHTTP: true}, Retry: registry.Retry{Count: -1}})
	if _, err := r.Resolve(t.Context(), srv.ref(t, "a")); err == nil {
		t.Fatal("got no error, want one")
	}
	if !strings.Contains(dump.String(), "< "+srv.URL+"/v2/a/manifests/latest: connection closed before the answer") {
		t.Errorf("got %q, want the failure", dump.String())
	}
}

func TestDumpShowsTheMirroredRegistry(t *testing.T) {
	var dump buffer
	blob := blobBytes(3)
	mirror, own := serveAt(t, "127.0.0.2", content(blob)), serve(t, content(blob))
	o := mirrored(t, mirror, own, `"pull"`)
	o.Dump = &dump
	if _, _, err := read(t, open(t, o), own.ref(t, "a"), blob, source.Range{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dump.String(), "?ns=127.0.0.1%3A") {
		t.Errorf("got %q, want the namespace, which is no secret", dump.String())
	}
}

func TestUserAgent(t *testing.T) {
	srv := serve(t, manifest(manifestJSON(t)))
	for want, o := range map[string]registry.Options{"containerd-pull": {}, "x/1": {UserAgent: "x/1"}} {
		if _, err := open(t, o).Resolve(t.Context(), srv.ref(t, "a")); err != nil {
			t.Fatal(err)
		}
		if got := srv.last(t).Header.Get("User-Agent"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func ExampleRegistry_Resolve() {
	r, err := registry.New(registry.Options{UserAgent: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ref, err := source.ParseRef("alpine")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that this example contacts no host
	_, err = r.Resolve(ctx, ref)
	fmt.Println(err)
	// Output: resolving docker.io/library/alpine:latest: context canceled
}
