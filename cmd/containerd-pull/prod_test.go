package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hub serves the image of the world as library/app:1.2 over TLS, only to the
// user prod.
func (h *house) hub() *httptest.Server {
	inner, err := url.Parse(h.world.registry.URL)
	if err != nil {
		h.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(inner)
	hub := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user+password != "prod"+rightPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		rest, ok := strings.CutPrefix(r.URL.Path, "/v2/library/app/")
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		r.URL.Path = "/v2/good/" + strings.Replace(rest, "manifests/1.2", "manifests/latest", 1)
		proxy.ServeHTTP(w, r)
	}))
	h.t.Cleanup(hub.Close)
	return hub
}

// TestProfileLeavesNoFlag pulls a short name with -p as the only flag. The
// profile, in the system's configuration, sets mirror, certificate authority,
// credential, store, snapshotter, platform and labels.
func TestProfileLeavesNoFlag(t *testing.T) {
	long(t)
	if !withMounts(t) {
		return
	}
	h := newHouse(t)
	hub := h.hub()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hub.Certificate().Raw})
	h.write("etc/containerd-pull/ca.pem", string(ca), 0o644)
	h.write("etc/containerd-pull/prod.pass", rightPassword+"\n", 0o600)
	h.write("etc/containerd-pull/config.toml", fmt.Sprintf(`
[profiles.prod]
root = "../../store"
namespace = "prod"
snapshotter = "native"
platforms = ["linux/arm64"]
labels = { "example.com/stage" = "{{.Profile}}" }
[[profiles.prod.mirrors]]
host = "docker.io"
endpoints = [%q]
resolve = true
ca = "ca.pem"
[[profiles.prod.credentials]]
match = [%q]
source = "password"
username = "prod"
password_file = "prod.pass"
[profiles.mainframe]
extends = "prod"
platforms = ["linux/s390x"]
`, hub.URL, strings.TrimPrefix(hub.URL, "https://")), 0o644)

	code, shown := h.run("-p", "prod", "app:1.2")
	if code != 0 || !strings.HasPrefix(shown, "docker.io/library/app:1.2\n") {
		t.Fatalf("got exit code %d and %s", code, shown)
	}
	if code, shown := h.run("-p", "mainframe", "app:1.2"); code != 4 || !strings.Contains(shown, "linux/s390x") {
		t.Errorf("a platform that the image lacks: got exit code %d and %s", code, shown)
	}
	database, err := os.ReadFile(filepath.Join(h.root, "store/io.containerd.metadata.v1.bolt/meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"docker.io/library/app:1.2", "example.com/stage", "native"} {
		if !strings.Contains(string(database), want) {
			t.Errorf("the store's metadata lack %q", want)
		}
	}
	snapshots, err := filepath.Glob(filepath.Join(h.root, "store/io.containerd.snapshotter.v1.native/snapshots/*"))
	if err != nil || len(snapshots) == 0 {
		t.Errorf("snapshots: got %v, %v; want some", snapshots, err)
	}
}
