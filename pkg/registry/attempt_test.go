package registry_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// unasked makes a Registry with the patience that is built in, unless o has another.
func unasked(t *testing.T, o registry.Options) *registry.Registry {
	t.Helper()
	r, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// garbage answers every connection with text, whatever comes.
func garbage(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(text))
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// https names the host with its scheme, so that no other one is tried.
func https(t *testing.T, host string) hosts.Options {
	t.Helper()
	return hosts.Options{Dirs: []string{hostsDir(t, host, "server = \"https://"+host+"\"\nskip_verify = true\n")}}
}

// knative/serving#13937, nerdctl#278, containerd#13203 and what is like them: it
// comes back with every try, so it is told at once.
func TestPermanentFailuresEndAtOnce(t *testing.T) {
	old := func(version uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, version }
	}
	served := manifest(manifestJSON(t))
	for _, tc := range []struct {
		name       string
		host       func(t *testing.T) (string, hosts.Options)
		says, hint string
		malformed  bool
	}{
		{"TLS 1.1", func(t *testing.T) (string, hosts.Options) {
			s := serveTLS(t, "127.0.0.1", old(tls.VersionTLS11), served)
			return s.host(), https(t, s.host())
		}, "speaks TLS 1.1 at best, and this program TLS 1.2 and 1.3", "newer TLS", false},
		{"TLS 1.0", func(t *testing.T) (string, hosts.Options) {
			s := serveTLS(t, "127.0.0.1", old(tls.VersionTLS10), served)
			return s.host(), https(t, s.host())
		}, "speaks TLS 1.0 at best", "newer TLS", false},
		{"old ciphers", func(t *testing.T) (string, hosts.Options) {
			s := serveTLS(t, "127.0.0.1", func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}
			}, served)
			return s.host(), https(t, s.host())
		}, "speaks TLS 1.2 with TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", "newer TLS", false},
		{"client certificate", func(t *testing.T) (string, hosts.Options) {
			s := serveTLS(t, "127.0.0.1", func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }, served)
			return s.host(), https(t, s.host())
		}, "wants a client certificate", "--tlscert FILE", false},
		{"client certificate, TLS 1.2", func(t *testing.T) (string, hosts.Options) {
			s := serveTLS(t, "127.0.0.1", func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }, served)
			return s.host(), https(t, s.host())
		}, "wants a client certificate", "--tlscert FILE", false},
		{"plain HTTP", func(t *testing.T) (string, hosts.Options) {
			s := serve(t, served)
			return s.host(), https(t, s.host())
		}, "speaks plain HTTP", "--plain-http", false},
		{"no TLS at all", func(t *testing.T) (string, hosts.Options) {
			host := garbage(t, "SSH-2.0-OpenSSH_9.9\r\n")
			return host, https(t, host)
		}, "first record does not look like a TLS handshake", "something else than a registry", false},
		{"no HTTP", func(t *testing.T) (string, hosts.Options) {
			return garbage(t, "SSH-2.0-OpenSSH_9.9\r\n"), hosts.Options{PlainHTTP: true}
		}, "answers something else than HTTP", "something else than a registry", true},
		{"unknown authority", func(t *testing.T) (string, hosts.Options) {
			s := serveTLS(t, "127.0.0.1", nil, served)
			return s.host(), hosts.Options{Dirs: []string{hostsDir(t, s.host(), `server = "`+s.URL+`"`)}}
		}, "certificate signed by unknown authority", "--tlscacert FILE", false},
		{"port that can be none", func(t *testing.T) (string, hosts.Options) {
			return serve(t, http.RedirectHandler("http://127.0.0.1:99999/", http.StatusFound).ServeHTTP).host(), hosts.Options{PlainHTTP: true}
		}, "invalid port", "127.0.0.1:99999 is no address", false},
		{"redirects in a circle", func(t *testing.T) (string, hosts.Options) {
			return serve(t, http.RedirectHandler("/v2/", http.StatusFound).ServeHTTP).host(), hosts.Options{PlainHTTP: true}
		}, "more than 10 redirects", "without end", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e events
			host, o := tc.host(t)
			_, err := unasked(t, registry.Options{Hosts: o, Progress: e.add}).Resolve(t.Context(), parse(t, host+"/a:1"))
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(failure.HintOf(err), tc.hint) {
				t.Errorf("got %v, hint %q, want %q and hint %q", err, failure.HintOf(err), tc.says, tc.hint)
			}
			if errdefs.IsInvalidArgument(err) != tc.malformed || errdefs.IsUnavailable(err) == tc.malformed {
				t.Errorf("got %v of another class, want malformed: %v", err, tc.malformed)
			}
			if waits := e.retries(); len(waits) > 0 {
				t.Errorf("got the answer after waits of %s, want it at once", waits)
			}
		})
	}
}

// What is mistyped is told within two seconds, after one more try.
func TestBriefFailures(t *testing.T) {
	for name, host := range map[string]string{"refused": vacant(t), "dns": "registry.invalid"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e events
			r := unasked(t, registry.Options{Progress: e.add})
			_, err := r.Resolve(t.Context(), parse(t, host+"/a:1"))
			if !errdefs.IsUnavailable(err) || registry.Reason(err) != name || !strings.Contains(failure.HintOf(err), strings.Split(host, ":")[0]) {
				t.Errorf("got %v, hint %q, want a failure that names %s", err, failure.HintOf(err), host)
			}
			if !e.isBrief() {
				t.Errorf("got the answer after waits of %s, want one more try after 1.2s", e.retries())
			}
			if _, err = r.Resolve(t.Context(), parse(t, host+"/b:1")); err == nil || len(e.retries()) != 1 {
				t.Errorf("got %v after waits of %s for another image, want no further one for this host", err, e.retries())
			}
		})
	}
}

// What was waited for in vain is remembered of the server that was not there, and of
// no other: the registry has answered, and names several token servers.
func TestBriefFailuresOfOtherServers(t *testing.T) {
	dead, second := vacant(t), vacant(t)
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		at := dead
		if strings.HasPrefix(req.URL.Path, "/v2/second/") {
			at = second
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+at+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	var e events
	r := unasked(t, registry.Options{Progress: e.add, Retry: registry.Retry{Count: 4, Delay: time.Millisecond}})
	for _, tc := range []struct {
		image string
		tries int
	}{{"first/a", 1}, {"first/b", 0}, {"second/a", 1}, {"second/b", 0}} {
		e.list = nil
		if _, err := r.Resolve(t.Context(), srv.ref(t, tc.image+":1")); registry.Reason(err) != "refused" {
			t.Errorf("%s: got %v, want a refused connection", tc.image, err)
		}
		if n := len(e.retries()); n != tc.tries {
			t.Errorf("%s: got %d more tries, want %d", tc.image, n, tc.tries)
		}
	}
}

// Asked-for patience is kept in full, and so is that with a host that has answered.
func TestBriefFailuresWithPatience(t *testing.T) {
	quick := registry.Retry{Count: 4, Delay: time.Millisecond}
	tries := func(r *registry.Registry, e *events, host string) int {
		e.list = nil
		_, err := r.Resolve(t.Context(), parse(t, host+"/a:1"))
		if !errdefs.IsUnavailable(err) {
			t.Fatalf("got %v, want a failure of the network", err)
		}
		return len(e.retries())
	}
	var e events
	asked := quick
	asked.Patient = true
	if got := tries(unasked(t, registry.Options{Progress: e.add, Retry: asked}), &e, vacant(t)); got != 4 {
		t.Errorf("got %d more tries, want the 4 that were asked for", got)
	}
	if got := tries(unasked(t, registry.Options{Progress: e.add, Retry: quick}), &e, vacant(t)); got != 1 {
		t.Errorf("got %d more tries, want 1", got)
	}
	srv := serve(t, manifest(manifestJSON(t)))
	r := unasked(t, registry.Options{Progress: e.add, Retry: quick, Hosts: hosts.Options{PlainHTTP: true}})
	if _, err := r.Resolve(t.Context(), srv.ref(t, "a:1")); err != nil {
		t.Fatal(err)
	}
	srv.Close()
	if got := tries(r, &e, srv.host()); got != 4 {
		t.Errorf("got %d more tries of a server that has answered, want 4", got)
	}
}

// An outage of one second is survived.
func TestOutageOfASecond(t *testing.T) {
	host := vacant(t)
	served := make(chan *http.Server, 1)
	time.AfterFunc(time.Second, func() {
		srv := &http.Server{Handler: manifest(manifestJSON(t)), ReadHeaderTimeout: time.Second}
		served <- srv
		if l, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(t.Context()), "tcp", host); err == nil {
			_ = srv.Serve(l)
		}
	})
	_, err := unasked(t, registry.Options{Hosts: hosts.Options{PlainHTTP: true}}).Resolve(t.Context(), parse(t, host+"/a:1"))
	(<-served).Close()
	if err != nil {
		t.Errorf("got %v, want a success after the outage", err)
	}
}

func TestTemporaryDNSErrorIsRetried(t *testing.T) {
	err := error(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}})
	if !registry.IsTemporary(err) {
		t.Errorf("got %v as lasting, want it to be tried again", err)
	}
	if registry.IsTemporary(errors.Join(&net.DNSError{Err: "no such host", IsNotFound: true})) {
		t.Error("got a name that does not exist as temporary")
	}
}
