package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	// idleConns is how many connections to one host may wait for the next
	// request: as many as pkg/fetch opens to one.
	idleConns   = 16
	idleTimeout = 90 * time.Second
	// headerBytes bounds the headers of one answer, informational answers
	// included.
	headerBytes = 1 << 20
)

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// newTransport speaks HTTP/1.1 alone, where each blob has a connection of its
// own. It is used without an http.Client, which would follow redirects by
// rules of its own.
func newTransport(cfg *tls.Config, dial dialFunc, stall time.Duration) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        cfg,
		TLSHandshakeTimeout:    stall,
		ResponseHeaderTimeout:  stall,
		MaxResponseHeaderBytes: headerBytes,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleTimeout,
		Protocols:              &protocols,
	}
}

// through has t ask through the proxies.
func (p proxies) through(t *http.Transport) *http.Transport {
	t.Proxy, t.OnProxyConnectResponse = p.of, p.answered
	return t
}

// transports are the ways to the one host that they belong to, and to
// strangers to which it redirects.
type transports struct {
	own *http.Transport
	// Strangers see no client certificate. Where no proxy is in between, the
	// address is judged after the name was resolved.
	direct, proxied *http.Transport
	proxy           func(*http.Request) (*url.URL, error)
}

func (r *Registry) newTransports(h *host) transports {
	stall := r.opts.StallTimeout
	bare := h.TLS.Clone()
	bare.Certificates = nil
	plain := &net.Dialer{Timeout: stall}
	return transports{
		own:     r.proxies.through(newTransport(h.TLS, h.watchDial(stall), stall)),
		direct:  newTransport(bare, r.strangerDial(h, stall), stall),
		proxied: r.proxies.through(newTransport(bare, plain.DialContext, stall)),
		proxy:   r.proxies.of,
	}
}

// strangerDial judges the addresses to which the name of a stranger leads.
func (r *Registry) strangerDial(h *host, stall time.Duration) dialFunc {
	return func(ctx context.Context, network, name string) (net.Conn, error) {
		d := &net.Dialer{Timeout: stall, ControlContext: func(_ context.Context, _, addr string, _ syscall.RawConn) error {
			return r.judgeReach(h, name, addr)
		}}
		return d.DialContext(ctx, network, name)
	}
}

// toStranger picks the way for a request to another server than the host.
func (t transports) toStranger(req *http.Request) *http.Transport {
	if via, err := t.proxy(req); err != nil || via != nil {
		return t.proxied
	}
	return t.direct
}

// watchDial bounds h.Dial and learns whether the host is in a private network,
// because then it may redirect into private networks.
func (h *host) watchDial(stall time.Duration) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, stall)
		defer cancel()
		conn, err := h.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		// Behind a proxy, addr is the proxy's.
		if source.SameHostname(addr, h.Name) && reachOf(conn.RemoteAddr().String()) == reachPrivate {
			h.private.Store(true)
		}
		return conn, nil
	}
}

// isLocal reports whether the host itself is at a loopback or private address.
func (h *host) isLocal() bool {
	return h.private.Load() || reachOf(h.Name) == reachPrivate
}

// reach is from where an address can be reached.
type reach int

const (
	reachPublic  reach = iota // or a name that was not resolved
	reachPrivate              // loopback, private or shared by a carrier
	reachLinkLocal
)

// reachOf judges a host with or without a port by its text.
func reachOf(host string) reach {
	host = source.Hostname(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return reachPrivate
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return reachPublic
	}
	ip = ip.Unmap()
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsMulticast():
		return reachLinkLocal
	case ip.IsLoopback(), ip.IsPrivate(), ip.IsUnspecified(), isShared(ip):
		return reachPrivate
	}
	return reachPublic
}

// isShared reports whether ip is in the address space that carriers and overlay
// networks use inside (RFC 6598); cloud metadata services are found there too.
func isShared(ip netip.Addr) bool {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(ip)
}

// contextError returns the cause of a context that has ended, so that a
// signal or a time-out is not taken for a failure of the network.
func contextError(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == nil || errors.Is(err, errClosed) {
		return nil
	}
	return err
}
