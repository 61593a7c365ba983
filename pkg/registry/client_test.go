package registry_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// secretive wants a password and then redirects to target.
func secretive(target string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if _, p, _ := req.BasicAuth(); p != "canary-password" {
			w.Header().Set("WWW-Authenticate", "Basic realm=x")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

func canary() credential.Finder {
	return everywhere(credential.Credential{Username: "me", Password: "canary-password"})
}

// H1: what belongs to the registry does not go where it redirects.
func TestRedirectLeavesSecretsBehind(t *testing.T) {
	blob := blobBytes(5000)
	cdn := serveAt(t, "127.0.0.2", content(blob))
	srv := serve(t, secretive(strings.Replace(cdn.URL, "://", "://user:info@", 1)+"/blob?signature=1"))
	dir := hostsDir(t, srv.host(), `server = "`+srv.URL+`"
[header]
  x-canary = "canary-header"
  Cookie = "canary-cookie"
`)
	r := open(t, registry.Options{Hosts: hosts.Options{Dirs: []string{dir}}, Credentials: canary()})
	got, b, err := read(t, r, srv.ref(t, "a"), blob, source.Range{Offset: 100})
	if err != nil || !bytes.Equal(got, blob[100:]) || !b.Ranged {
		t.Fatalf("got %d bytes, %v, want all but 100, with a range", len(got), err)
	}
	if b.Host != srv.host() {
		t.Errorf("got host %s, want the registry, which vouches for its redirects", b.Host)
	}
	if got := srv.last(t).Header.Get("X-Canary"); got != "canary-header" {
		t.Errorf("got header %q at the registry, want the configured one", got)
	}
	cdn.mustNotHold(t, "canary", "user:info")
	if cdn.last(t).URL.RawQuery != "signature=1" || cdn.last(t).Header.Get("Range") != "bytes=100-" {
		t.Errorf("got query %q and range %q, want both as they were", cdn.last(t).URL.RawQuery, cdn.last(t).Header.Get("Range"))
	}
}

func TestRedirectTargetAsksForCredentials(t *testing.T) {
	for _, challenge := range []string{"Basic realm=x", `Bearer realm="http://127.0.0.2/token"`, ""} {
		cdn := serveAt(t, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		})
		srv := serve(t, secretive(cdn.URL+"/blob"))
		_, _, err := read(t, open(t, registry.Options{Credentials: canary()}), srv.ref(t, "a"), []byte("x"), source.Range{})
		if !errdefs.IsUnauthorized(err) || !strings.Contains(err.Error(), cdn.host()) || registry.Retryable(err) {
			t.Errorf("%q: got %v, want unauthenticated, naming the target", challenge, err)
		}
		if cdn.count() != 1 {
			t.Errorf("%q: got %d requests at the target, want 1", challenge, cdn.count())
		}
		cdn.mustNotHold(t, "canary")
	}
}

func TestRedirectBackHome(t *testing.T) {
	blob := blobBytes(50)
	var home string
	away := serveAt(t, "127.0.0.2", func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, home+"/there", http.StatusFound)
	})
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/there" {
			secretive(away.URL)(w, req)
			return
		}
		if _, p, _ := req.BasicAuth(); p != "canary-password" {
			t.Errorf("got password %q at home, want the own one", p)
		}
		content(blob)(w, req)
	})
	home = srv.URL
	got, _, err := read(t, open(t, registry.Options{Credentials: canary()}), srv.ref(t, "a"), blob, source.Range{})
	if err != nil || !bytes.Equal(got, blob) {
		t.Errorf("got %d bytes, %v, want 50", len(got), err)
	}
	away.mustNotHold(t, "canary")
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	tests := []struct {
		name, target string
		ok           bool
	}{
		{"public", "http://cdn.example.net/blob?sig=canary-query", true},
		{"other port", "http://registry.example.com:8080/blob", true},
		{"link-local", "http://169.254.169.254/latest/meta-data?sig=canary-query", false},
		{"link-local IPv6", "http://[fe80::1]/", false},
		{"loopback", "http://127.0.0.1:2375/containers", false},
		{"loopback by name", "http://localhost/", false},
		{"loopback by a name below", "http://a.localhost/", false},
		{"unspecified", "http://0.0.0.0/", false},
		{"mapped", "http://[::ffff:10.0.0.1]/", false},
		{"private", "http://10.1.2.3/", false},
		{"unique local", "http://[fd00::1]/", false},
		{"multicast", "http://224.0.0.1/", false},
		{"file", "file:///etc/passwd", false},
		{"ftp", "ftp://cdn.example.net/", false},
		{"no host", "http:///x", false},
		{"nothing", "", false},
		{"not a URL", "http://a b/%zz?sig=canary-query", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			net := serve(t, func(w http.ResponseWriter, req *http.Request) {
				if req.Host == "registry.example.com" {
					w.Header().Set("Location", tt.target)
					w.WriteHeader(http.StatusTemporaryRedirect)
					return
				}
				io.WriteString(w, "x")
			})
			r := open(t, registry.Options{Proxy: net.URL, Hosts: hosts.Options{PlainHTTP: true}})
			_, _, err := read(t, r, parse(t, "registry.example.com/a"), []byte("x"), source.Range{})
			if (err == nil) != tt.ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
				t.Errorf("got %v, want followed: %v", err, tt.ok)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("got %q, want it without the query", err)
			}
			if want := map[bool]int{true: 2, false: 1}[tt.ok]; net.count() != want {
				t.Errorf("got %d requests, want %d", net.count(), want)
			}
		})
	}
}

// A name may lead to an address that its text does not show.
func TestResolvedAddressIsJudged(t *testing.T) {
	tests := []struct {
		registry, addr string
		ok             bool
	}{
		{"registry.example.com", "93.184.216.34:443", true},
		{"registry.example.com", "127.0.0.1:80", false},
		{"registry.example.com", "192.168.0.1:80", false},
		{"registry.example.com", "[::1]:80", false},
		{"registry.example.com", "169.254.169.254:80", false},
		{"10.0.0.5:5000", "192.168.0.1:80", true},
		{"10.0.0.5:5000", "169.254.169.254:80", false},
	}
	for _, tt := range tests {
		if err := registry.JudgeRedirect(tt.registry, "cdn.example", tt.addr); (err == nil) != tt.ok {
			t.Errorf("%s leading to %s: got %v, want allowed: %v", tt.registry, tt.addr, err, tt.ok)
		}
	}
}

func TestRedirectFromTLSToPlain(t *testing.T) {
	plain := serve(t, content([]byte("x")))
	srv := unstarted(t, "127.0.0.1", func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, plain.URL, http.StatusFound)
	})
	srv.StartTLS()
	_, _, err := read(t, open(t, registry.Options{Hosts: hosts.Options{SkipVerify: true}}), srv.ref(t, "a"), []byte("x"), source.Range{})
	if !errdefs.IsInvalidArgument(err) || plain.count() != 0 {
		t.Errorf("got %v after %d plain requests, want an invalid argument after none", err, plain.count())
	}
}

func TestEndlessRedirects(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, req.URL.Path+"x", http.StatusFound)
	})
	_, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), []byte("x"), source.Range{})
	if !errdefs.IsUnavailable(err) || registry.Retryable(err) || srv.count() != 11 {
		t.Errorf("got %v after %d requests, want unavailable after 11", err, srv.count())
	}
}

func TestRedirectTargetFails(t *testing.T) {
	cdn := serveAt(t, "127.0.0.2", status(503))
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, cdn.URL, http.StatusFound)
	})
	_, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), []byte("x"), source.Range{})
	var e *source.Error
	if !errdefs.IsUnavailable(err) || !registry.Retryable(err) || !errors.As(err, &e) || e.Host != srv.host() || e.Status != 503 {
		t.Errorf("got %v, want a retryable 503 of the registry", err)
	}
}
