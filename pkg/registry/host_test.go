package registry_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// mirrored is a registry with one mirror in hosts.toml.
func mirrored(t *testing.T, mirror, own *fake, capabilities string) registry.Options {
	t.Helper()
	dir := hostsDir(t, own.host(), fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [%s]\n", own.URL, mirror.URL, capabilities))
	return registry.Options{Hosts: hosts.Options{Dirs: []string{dir}}}
}

// H3: a mirror without resolve is never asked for a tag, and learns which
// registry it stands for when it is asked for a digest.
func TestMirrorWithoutResolve(t *testing.T) {
	body := manifestJSON(t)
	mirror, own := serveAt(t, "127.0.0.2", manifest(body)), serve(t, manifest(body))
	r := open(t, mirrored(t, mirror, own, `"pull"`))
	got, err := r.Resolve(t.Context(), own.ref(t, "a:v1"))
	if err != nil || got.Host != own.host() || mirror.count() != 0 {
		t.Fatalf("got %s, %v after %d requests to the mirror, want the registry alone", got.Host, err, mirror.count())
	}
	again, err := r.Manifest(t.Context(), own.ref(t, "a:v1"), got.Desc)
	if err != nil || again.Host != mirror.host() {
		t.Fatalf("got %s, %v, want the mirror", again.Host, err)
	}
	if q := mirror.last(t).URL.Query().Get("ns"); q != own.host() {
		t.Errorf("got ns %q, want %q", q, own.host())
	}
}

func TestHostWithoutPullIsNotAskedForBlobs(t *testing.T) {
	blob := blobBytes(10)
	mirror, own := serveAt(t, "127.0.0.2", content(blob)), serve(t, content(blob))
	_, b, err := read(t, open(t, mirrored(t, mirror, own, `"resolve"`)), own.ref(t, "a"), blob, source.Range{})
	if err != nil || b.Host != own.host() || mirror.count() != 0 {
		t.Errorf("got %v after %d requests to the mirror, want none", err, mirror.count())
	}
}

func TestNoHostMayResolve(t *testing.T) {
	srv := serve(t, manifest(manifestJSON(t)))
	dir := hostsDir(t, srv.host(), fmt.Sprintf("server = %q\ncapabilities = [\"pull\"]\n", srv.URL))
	_, err := open(t, registry.Options{Hosts: hosts.Options{Dirs: []string{dir}}}).Resolve(t.Context(), srv.ref(t, "a"))
	if !errdefs.IsFailedPrecondition(err) || srv.count() != 0 {
		t.Errorf("got %v after %d requests, want a failed precondition after none", err, srv.count())
	}
}

func TestMirrorMisses(t *testing.T) {
	blob := blobBytes(10)
	var e events
	mirror, own := serveAt(t, "127.0.0.2", status(404)), serve(t, content(blob))
	o := mirrored(t, mirror, own, `"pull"`)
	o.Progress = e.add
	r := open(t, o)
	for range 3 {
		if _, b, err := read(t, r, own.ref(t, "a"), blob, source.Range{}); err != nil || b.Host != own.host() {
			t.Fatalf("got %v, want the registry's blob", err)
		}
	}
	if mirror.count() != 3 || len(e.list) != 0 {
		t.Errorf("got %d requests and events %q, want 3 and none: a miss is normal", mirror.count(), e.kinds())
	}
}

// A dead mirror costs its time once, and the last error tells of it too.
func TestDeadMirror(t *testing.T) {
	blob := blobBytes(10)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	own := serve(t, inTurn(content(blob), content(blob), status(404)))
	dir := hostsDir(t, own.host(), fmt.Sprintf("server = %q\n[host.\"http://%s\"]\ncapabilities = [\"pull\"]\n", own.URL, dead))
	var e events
	r := open(t, registry.Options{Hosts: hosts.Options{Dirs: []string{dir}}, Progress: e.add})
	for range 2 {
		if _, _, err := read(t, r, own.ref(t, "a"), blob, source.Range{}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"host refused"}, e.kinds()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	got := e.list[0]
	if e, ok := errors.AsType[*source.Error](got.Err); !ok || !e.Mirror || got.Host != dead {
		t.Errorf("got %+v, want the mirror %s", got, dead)
	}
	_, _, err = read(t, r, own.ref(t, "a"), blob, source.Range{})
	if !errdefs.IsNotFound(err) || registry.Retryable(err) {
		t.Errorf("got %v, want the registry's not found to decide", err)
	}
	for _, host := range []string{dead, own.host()} {
		if !strings.Contains(err.Error(), host+": ") {
			t.Errorf("got %q, want it to name %s", err, host)
		}
	}
}

// A mirror that is there but never answers costs its time-out once as well.
func TestStalledMirror(t *testing.T) {
	blob := blobBytes(10)
	l, err := net.Listen("tcp", "127.0.0.2:0") // connects, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own := serve(t, content(blob))
	for _, scheme := range []string{"http", "https"} {
		dir := hostsDir(t, own.host(), fmt.Sprintf("server = %q\n[host.\"%s://%s\"]\ncapabilities = [\"pull\"]\n", own.URL, scheme, l.Addr()))
		var e events
		r := open(t, registry.Options{Hosts: hosts.Options{Dirs: []string{dir}}, Progress: e.add, StallTimeout: 200 * time.Millisecond})
		start := time.Now()
		for range 10 {
			if _, _, err := read(t, r, own.ref(t, "a"), blob, source.Range{}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: got 10 blobs in %s, want one stall of 200ms in it", scheme, took)
		}
		if diff := cmp.Diff([]string{"host stall"}, e.kinds()); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", scheme, diff)
		}
	}
}

func TestRoundsOverSeveralHosts(t *testing.T) {
	pulltest.Long(t)
	body := manifestJSON(t)
	limited := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "86400")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	soon := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	tests := []struct {
		name        string
		mirror, own http.HandlerFunc
		is          func(error) bool // nil for success
		atOwn       int              // with the list of tags that explains what is missing
	}{
		{"both fail once", inTurn(status(503), manifest(body)), inTurn(status(503), manifest(body)), nil, 2},
		{"the registry is given up, the mirror recovers", inTurn(soon, manifest(body)), limited, nil, 1},
		{"the registry is given up, the mirror is empty", status(404), limited, errdefs.IsResourceExhausted, 1},
		{"the registry says no, the mirror fails", status(503), status(404), errdefs.IsNotFound, 2},
		{"the registry refuses, the mirror fails", status(503), status(403), errdefs.IsPermissionDenied, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mirror, own := serveAt(t, "127.0.0.2", tt.mirror), serve(t, tt.own)
			_, err := open(t, mirrored(t, mirror, own, `"pull", "resolve"`)).Resolve(t.Context(), own.ref(t, "a"))
			if tt.is == nil && err != nil || tt.is != nil && !tt.is(err) {
				t.Errorf("got %v, want another outcome", err)
			}
			if own.count() != tt.atOwn {
				t.Errorf("got %d requests to the registry, want %d", own.count(), tt.atOwn)
			}
		})
	}
}

// The only host of hosts.toml may be another than the registry. There is no host
// to fall back to, so it is not given up.
func TestServerInPlaceOfTheRegistry(t *testing.T) {
	stand := serve(t, inTurn(status(503), status(503), status(503), status(503), manifest(manifestJSON(t))))
	dir := hostsDir(t, "reg.example.com", fmt.Sprintf("server = %q\n", stand.URL))
	var e events
	r := open(t, registry.Options{Hosts: hosts.Options{Dirs: []string{dir}}, Progress: e.add, Retry: registry.Retry{Count: 5, Delay: time.Millisecond}})
	if _, err := r.Resolve(t.Context(), parse(t, "reg.example.com/a")); err != nil {
		t.Fatal(err)
	}
	if q := stand.last(t).URL.Query().Get("ns"); q != "reg.example.com" || stand.count() != 5 {
		t.Errorf("got ns %q after %d requests, want reg.example.com after 5", q, stand.count())
	}
	mustHave(t, e.kinds(), "retry status")
}

func TestFailingMirrorIsGivenUp(t *testing.T) {
	blob := blobBytes(10)
	var e events
	mirror, own := serveAt(t, "127.0.0.2", status(503)), serve(t, content(blob))
	o := mirrored(t, mirror, own, `"pull"`)
	o.Progress = e.add
	r := open(t, o)
	deadline := time.Now().Add(20 * time.Second)
	for len(e.kinds()) == 0 && time.Now().Before(deadline) {
		if _, _, err := read(t, r, own.ref(t, "a"), blob, source.Range{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if diff := cmp.Diff([]string{"host status"}, e.kinds()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if mirror.count() != 3 {
		t.Errorf("got %d requests to the mirror, want 3 with pauses", mirror.count())
	}
}

// B3: a corrupt mirror is named and not asked again for anything.
func TestBlamedMirror(t *testing.T) {
	blob, other := blobBytes(10), []byte("another")
	var e events
	mirror, own := serveAt(t, "127.0.0.2", content(make([]byte, 10))), serve(t, content(blob))
	o := mirrored(t, mirror, own, `"pull"`)
	o.Progress = e.add
	r := open(t, o)
	ref := own.ref(t, "a")
	_, b, err := read(t, r, ref, blob, source.Range{})
	if err != nil || b.Host != mirror.host() {
		t.Fatalf("got %v, want the mirror first", err)
	}
	r.Blame(ref, describe(layerType, blob), b.Host, fmt.Errorf("digest: got x, want y"))
	if got, b, err := read(t, r, ref, blob, source.Range{}); err != nil || b.Host != own.host() || string(got) != string(blob) {
		t.Errorf("got %v, want the registry after the mirror was blamed", err)
	}
	_, _, _ = read(t, r, ref, other, source.Range{}) // from any host
	if mirror.count() != 1 {
		t.Errorf("got %d requests to the mirror, want 1", mirror.count())
	}
	if diff := cmp.Diff([]string{"host digest"}, e.kinds()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestMirrorServesWrongManifest(t *testing.T) {
	body := manifestJSON(t)
	mirror, own := serveAt(t, "127.0.0.2", manifest(indexJSON(t))), serve(t, manifest(body))
	r := open(t, mirrored(t, mirror, own, `"pull"`))
	got, err := r.Manifest(t.Context(), own.ref(t, "a"), describe("", body))
	if err != nil || got.Host != own.host() {
		t.Errorf("got %s, %v, want the registry", got.Host, err)
	}
}

func TestCredentialsOfMirrors(t *testing.T) {
	blob := blobBytes(10)
	challenge := func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("WWW-Authenticate", "Basic realm=x")
		w.WriteHeader(http.StatusUnauthorized)
	}
	mirror, own := serveAt(t, "127.0.0.2", challenge), serve(t, func(w http.ResponseWriter, req *http.Request) {
		if _, p, _ := req.BasicAuth(); p == "canary-password" {
			content(blob)(w, req)
			return
		}
		challenge(w, req)
	})
	o := mirrored(t, mirror, own, `"pull"`)
	o.Credentials = onlyAt(own.host(), credential.Credential{Username: "me", Password: "canary-password"})
	if _, b, err := read(t, open(t, o), own.ref(t, "a"), blob, source.Range{}); err != nil || b.Host != own.host() {
		t.Fatalf("got %v, want the registry's blob", err)
	}
	if mirror.count() != 1 {
		t.Errorf("got %d requests to the mirror, want 1", mirror.count())
	}
	mirror.mustNotHold(t, "canary")
}

func TestRateLimitedMirrorIsLeftAlone(t *testing.T) {
	blob := blobBytes(10)
	mirror := serveAt(t, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	own := serve(t, content(blob))
	r := open(t, mirrored(t, mirror, own, `"pull"`))
	for range 3 {
		if _, b, err := read(t, r, own.ref(t, "a"), blob, source.Range{}); err != nil || b.Host != own.host() {
			t.Fatalf("got %v, want the registry's blob", err)
		}
	}
	if mirror.count() != 1 {
		t.Errorf("got %d requests to the mirror, want 1: it asked for 30 s", mirror.count())
	}
}
