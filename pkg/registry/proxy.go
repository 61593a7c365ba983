package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/net/http/httpproxy"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/registry/neterror"
	"github.com/containerd-pull/containerd-pull/pkg/registry/words"
)

// proxies decides through which proxy a URL is asked, and knows where each proxy
// was named, so that a failure of it leads to the line that has to be mended.
type proxies struct {
	choose func(*url.URL) (*url.URL, error)
	from   map[string]string // scheme of the URL that is asked, to what names its proxy
}

// newProxies reads the proxy of the options, else those of the environment. A value
// that is no address is an error: without it, all requests would silently go
// another way than the one that was wanted.
func newProxies(o Options) (proxies, error) {
	if o.Proxy != "" {
		from := cmp.Or(o.ProxyFrom, "the options")
		u, err := parseProxy(o.Proxy, from)
		if err != nil {
			return proxies{}, err
		}
		return proxies{
			choose: func(*url.URL) (*url.URL, error) { return u, nil },
			from:   map[string]string{"http": from, "https": from},
		}, nil
	}
	if o.Getenv == nil {
		return proxies{choose: func(*url.URL) (*url.URL, error) { return nil, nil }}, nil
	}
	return environmentProxies(o.Getenv)
}

func environmentProxies(getenv func(string) string) (proxies, error) {
	p := proxies{from: map[string]string{}}
	found := map[string]string{}
	for _, scheme := range []string{"http", "https"} {
		name, text := eitherCase(getenv, strings.ToUpper(scheme)+"_PROXY")
		if text == "" {
			continue
		}
		if _, err := parseProxy(text, name); err != nil {
			return p, err
		}
		p.from[scheme], found[scheme] = name, text
	}
	_, direct := eitherCase(getenv, "NO_PROXY")
	p.choose = (&httpproxy.Config{HTTPProxy: found["http"], HTTPSProxy: found["https"], NoProxy: direct}).ProxyFunc()
	if p.from["http"] == "HTTP_PROXY" && getenv("REQUEST_METHOD") != "" {
		p.choose = withoutCGI(p.choose)
	}
	return p, nil
}

// withoutCGI refuses the proxy of HTTP_PROXY, which in a CGI program is what the header
// Proxy of a request says (CVE-2016-5385).
func withoutCGI(choose func(*url.URL) (*url.URL, error)) func(*url.URL) (*url.URL, error) {
	return func(u *url.URL) (*url.URL, error) {
		proxy, err := choose(u)
		if err != nil || proxy == nil || u.Scheme != "http" {
			return proxy, err
		}
		f := faultf("", errdefs.ErrFailedPrecondition, false, "HTTP_PROXY does not count where REQUEST_METHOD is set, as in a CGI program")
		return nil, f.withHint("name the proxy in http_proxy, which no request can set, or take REQUEST_METHOD out of the environment")
	}
}

// eitherCase reads a variable that is written in capitals or in small letters.
func eitherCase(getenv func(string) string, name string) (as, text string) {
	if text := getenv(name); text != "" {
		return name, text
	}
	return strings.ToLower(name), getenv(strings.ToLower(name))
}

// parseProxy reads SCHEME://[USER:PASSWORD@]HOST[:PORT], where the scheme may be
// missing. It takes nothing else, because a password with a character that is not
// encoded makes another address of it, for the most part one that exists. The error
// repeats nothing of the text, in which a password may stand.
func parseProxy(text, from string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || strings.ContainsAny(text, "?#") || !isProxyURL(u) {
		return nil, failure.New(errdefs.ErrInvalidArgument, "%s is not the address of a proxy", from).
			WithHint("write it as http://USER:PASSWORD@HOST:PORT, and in the password %%23 for #, %%25 for %%, %%40 for @, %%2F for / and %%3F for ?")
	}
	return u, nil
}

func isProxyURL(u *url.URL) bool {
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return false
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return u.Hostname() != "" && !strings.HasSuffix(u.Host, ":") && strings.Trim(u.Path, "/") == ""
}

// of has the signature of http.Transport.Proxy.
func (p proxies) of(req *http.Request) (*url.URL, error) { return p.choose(req.URL) }

// ProxyOf returns host and port of the proxy through which a URL is asked, and what names
// it; both are empty if there is none.
func (r *Registry) ProxyOf(u *url.URL) (host, from string) {
	proxy, err := r.proxies.choose(u)
	if err != nil || proxy == nil {
		return "", ""
	}
	return proxy.Host, r.proxies.from[u.Scheme]
}

// name is how a message calls the proxy of requests to URLs with the scheme: its
// address without a secret, and where it was named.
func (p proxies) name(proxy *url.URL, scheme string) string {
	return "proxy " + proxy.Host + " (from " + p.from[scheme] + ")"
}

// answered judges the answer of a proxy to CONNECT, which is always for https. It
// has the signature of http.Transport.OnProxyConnectResponse.
func (p proxies) answered(_ context.Context, proxy *url.URL, connect *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return p.refusal(proxy, "https", connect.Host, resp)
}

// refusal is the fault of a proxy that does not let a request to host through.
func (p proxies) refusal(proxy *url.URL, scheme, host string, resp *http.Response) *fault {
	f := faultf("refused", errdefs.ErrUnavailable, retriedStatus(resp.StatusCode) || resp.StatusCode == http.StatusTooManyRequests,
		"%s refused to connect to %s: %s", p.name(proxy, scheme), host, printable.Short(resp.Status, words.MaxMessage))
	f.unreachable = true
	from := p.from[scheme]
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired && proxy.User == nil:
		f.hint = "the proxy wants a user and a password: write them into " + from + " as http://USER:PASSWORD@" + proxy.Host
	case resp.StatusCode == http.StatusProxyAuthRequired:
		f.hint = "the proxy did not accept the user and the password in " + from
	case f.retry:
		f.hint = "the proxy may not reach the registry: check the name of the registry, and ask the one who runs the proxy"
	default:
		f.hint = "the proxy does not allow this host: ask the one who runs it, or name the host in NO_PROXY if it can be reached without"
	}
	return f
}

// isProxyFailure reports whether the connection to the proxy itself failed.
func isProxyFailure(err error) bool { return neterror.IsOp("proxyconnect")(err) }

// insideProxy returns why the connection to the proxy failed.
func insideProxy(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// suspectProxy names the proxy beside the host where an answer without TLS may be
// that of either: it has neither a registry's code nor a registry's header.
func (r *Registry) suspectProxy(f *fault, resp *http.Response, code string) {
	u := resp.Request.URL
	proxy, err := r.proxies.choose(u)
	if err != nil || proxy == nil || u.Scheme != "http" || code != "" || resp.Header.Get("Docker-Distribution-Api-Version") != "" {
		return
	}
	f.err = fmt.Errorf("the host, or %s, answers %w", r.proxies.name(proxy, u.Scheme), f.err)
	if resp.StatusCode == http.StatusForbidden {
		f.err = errors.New(f.err.Error()) // without source.ErrNoCredential: no credential changes a proxy's mind
		f.hint = "if it was the proxy that refused: ask the one who runs it, or name the host in NO_PROXY"
	}
}
