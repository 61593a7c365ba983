package registry_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// refusing is a proxy that answers every request with one status line.
func refusing(t *testing.T, status string) (addr string, asked func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	count := make(chan int, 1)
	count <- 0
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			count <- <-count + 1
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = conn.Write([]byte("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			conn.Close()
		}
	}()
	return l.Addr().String(), func() int { n := <-count; count <- n; return n }
}

// proxied is an environment with proxies.
func proxied(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// moby#40507, hub-feedback#826
func TestProxyRefuses(t *testing.T) {
	for _, tc := range []struct {
		status, variable string
		plain            bool
		says, hint       string
	}{
		{"403 Forbidden", "HTTPS_PROXY", false, "refused to connect to registry.example.com:443: 403 Forbidden", "NO_PROXY"},
		{"407 Proxy Authentication Required", "HTTPS_PROXY", false, "refused to connect to registry.example.com:443: 407", "USER:PASSWORD@"},
		{"407 Proxy Authentication Required", "https_proxy", false, "refused to connect to registry.example.com:443: 407", "write them into https_proxy"},
		{"407 Proxy Authentication Required", "HTTP_PROXY", true, "refused to connect to registry.example.com: 407", "USER:PASSWORD@"},
		{"403 Forbidden", "HTTP_PROXY", true, "403 Forbidden", "proxy"},
	} {
		t.Run(tc.variable+" "+tc.status, func(t *testing.T) {
			addr, asked := refusing(t, tc.status)
			r := open(t, registry.Options{
				Getenv: proxied(map[string]string{tc.variable: "http://" + addr}), Hosts: hosts.Options{PlainHTTP: tc.plain},
			})
			_, err := r.Resolve(t.Context(), parse(t, "registry.example.com/team/app:1"))
			if err == nil || !strings.Contains(err.Error(), "proxy "+addr+" (from "+tc.variable+")") || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want the proxy, its variable and %q", err, tc.says)
			}
			if hint := failure.HintOf(err); !strings.Contains(hint, tc.hint) {
				t.Errorf("got hint %q, want %q in it", hint, tc.hint)
			}
			if errors.Is(err, source.ErrNoCredential) {
				t.Errorf("got %v, want no credential to be missed", err)
			}
			if n := asked(); n != 1 {
				t.Errorf("got %d requests, want one and no other try", n)
			}
		})
	}
}

func TestProxyThatHasAPasswordIsNotShown(t *testing.T) {
	addr, _ := refusing(t, "407 Proxy Authentication Required")
	r := open(t, registry.Options{Getenv: proxied(map[string]string{"HTTPS_PROXY": "http://someuser:canary@" + addr})})
	_, err := r.Resolve(t.Context(), parse(t, "registry.example.com/team/app:1"))
	if err == nil || strings.Contains(err.Error()+failure.HintOf(err), "canary") || !strings.Contains(failure.HintOf(err), "did not accept") {
		t.Errorf("got %v, hint %q, want the refusal without the password", err, failure.HintOf(err))
	}
}

// TestProxyInCGI takes HTTP_PROXY for what a request may have set, and asks no server
// another way.
func TestProxyInCGI(t *testing.T) {
	for _, tc := range []struct {
		variable, direct string
		asked            int
	}{
		{"HTTP_PROXY", "", 0}, {"HTTP_PROXY", "example.com", 0}, {"http_proxy", "", 1}, {"HTTPS_PROXY", "", 1},
	} {
		t.Run(tc.variable+" without "+tc.direct, func(t *testing.T) {
			addr, asked := refusing(t, "403 Forbidden")
			r := open(t, registry.Options{
				Getenv: proxied(map[string]string{tc.variable: "http://" + addr, "NO_PROXY": tc.direct, "REQUEST_METHOD": "GET"}),
				Hosts:  hosts.Options{PlainHTTP: tc.variable != "HTTPS_PROXY"},
			})
			_, err := r.Resolve(t.Context(), parse(t, "registry.example.net/team/app:1"))
			if n := asked(); err == nil || n != tc.asked || errdefs.IsFailedPrecondition(err) != (n == 0) || registry.Retryable(err) {
				t.Errorf("got %v after %d requests, want %d, and a failure for good", err, n, tc.asked)
			}
			if hint := failure.HintOf(err); tc.asked == 0 && !strings.Contains(hint, "http_proxy") {
				t.Errorf("got hint %q, want the variable that counts", hint)
			}
		})
	}
}

func TestProxyThatIsNotThere(t *testing.T) {
	addr := vacant(t)
	var e events
	r, err := registry.New(registry.Options{Progress: e.add, Getenv: proxied(map[string]string{"HTTPS_PROXY": addr})})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Resolve(t.Context(), parse(t, "registry.example.com/team/app:1"))
	if err == nil || !strings.Contains(err.Error(), "proxy "+addr+" (from HTTPS_PROXY)") || !strings.Contains(failure.HintOf(err), "HTTPS_PROXY") {
		t.Errorf("got %v, hint %q, want the proxy and its variable", err, failure.HintOf(err))
	}
	if !e.isBrief() {
		t.Errorf("got the answer after waits of %s, want one more try after 1.2s", e.retries())
	}
}

// vacant is an address at which nothing listens.
func vacant(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// for-win#734, minishift#2283
func TestProxyVariables(t *testing.T) {
	for text, ok := range map[string]bool{
		"":                                 true,
		"proxy:3128":                       true,
		"proxy":                            true,
		"http://proxy:3128":                true,
		"http://proxy:3128/":               true,
		"https://user:p%23ss%25@proxy:443": true,
		"socks5://[::1]:1080":              true,
		"http://user:pa#ss@proxy:3128":     false,
		"user:pa#ss@proxy:3128":            false,
		"http://user:1#canary@proxy:3128":  false,
		"http://user:pa%ss@proxy:3128":     false,
		"http://user:pa%zz@proxy:3128":     false,
		"http://user:1/canary@proxy:3128":  false,
		"http://user:1?canary@proxy:3128":  false,
		"http://proxy:port":                false,
		"http://proxy:99999":               false,
		"http://proxy:0":                   false,
		"http://proxy:":                    false,
		"http://proxy:3128#":               false,
		"http://:3128":                     false,
		"http:/proxy:3128":                 false,
		"ftp://proxy:21":                   false,
		"http://proxy:3128/path":           false,
		"://proxy":                         false,
	} {
		for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
			_, err := registry.New(registry.Options{Getenv: proxied(map[string]string{name: text})})
			if (err == nil) != ok {
				t.Errorf("%s=%q: got %v, want success: %v", name, text, err, ok)
			}
			if err == nil {
				continue
			}
			if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), name+" ") || !strings.Contains(failure.HintOf(err), "%23 for #") {
				t.Errorf("%s=%q: got %v, hint %q, want the variable and what to write", name, text, err, failure.HintOf(err))
			}
			if strings.Contains(err.Error()+failure.HintOf(err), "canary") || strings.Contains(err.Error(), "pa") && strings.Contains(err.Error(), "ss@") {
				t.Errorf("%s: got %v, want nothing of the value", name, err)
			}
		}
	}
}

// TestRule7ProxyThatNeverLeadsOn has proxies that take the connection and then say
// nothing, or too little, to which net/http has no answer of its own.
func TestRule7ProxyThatNeverLeadsOn(t *testing.T) {
	const stall = 150 * time.Millisecond
	for name, says := range map[string]string{
		"http": "", "http, slowly": "HTTP/1.1 200 OK\r\n", "socks5": "", "socks5h, slowly": "\x05",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scheme, _, _ := strings.Cut(name, ",")
			addr := deafProxy(t, says)
			r := open(t, registry.Options{
				Getenv: proxied(map[string]string{"HTTPS_PROXY": scheme + "://" + addr}), StallTimeout: stall, Retry: registry.Retry{Count: -1},
			})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := r.Resolve(ctx, parse(t, "registry.example.com/team/app:1"))
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "proxy "+addr+" (from HTTPS_PROXY): no connection after 300ms") {
				t.Errorf("got %v, want the proxy to be given up", err)
			}
			if registry.Reason(err) != "stall" || !strings.Contains(failure.HintOf(err), "HTTPS_PROXY") {
				t.Errorf("got reason %q and hint %q, want a stall of the proxy", registry.Reason(err), failure.HintOf(err))
			}
		})
	}
}

// deafProxy says something and then nothing any more, until the test ends.
func deafProxy(t *testing.T, says string) (addr string) {
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
			t.Cleanup(func() { conn.Close() })
			_, _ = io.WriteString(conn, says)
		}
	}()
	return l.Addr().String()
}
