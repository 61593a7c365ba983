package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/registry/allowance"
	"github.com/containerd-pull/containerd-pull/pkg/registry/neterror"
)

// attempt is one request, with what is known of its way beside the error that ends
// it: net/http exports few of its errors, and none says which side of a proxy it
// is about.
type attempt struct {
	r     *Registry
	h     *host
	via   *http.Transport
	req   *http.Request
	proxy *url.URL // nil if the server is asked directly

	handshake atomic.Bool // a TLS handshake has failed
	answered  atomic.Bool // the first byte of an answer has come
	wait      *allowance.Wait
}

func (r *Registry) newAttempt(h *host, via *http.Transport, req *http.Request) *attempt {
	a := &attempt{r: r, h: h, via: via, req: req}
	if via.Proxy != nil {
		a.proxy, _ = via.Proxy(req) // the error comes back from the request
	}
	return a
}

// watch returns a context for the request, in which its way is followed, and what
// ends it. That is ended, too, when an answer does not come to its end, and when a proxy
// does not lead on: net/http waits for ever for one of SOCKS, and a minute for one of HTTP.
func (a *attempt) watch(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	a.wait = a.r.book.NewWait(ctx, a.h.Name, func(what string, limit time.Duration, last bool) {
		f := a.lateFault(what, limit, last)
		if !a.answered.Load() {
			f = a.proxyFault(f)
		}
		cancel(f)
	})
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			if a.proxy != nil {
				a.wait.Connect()
			}
		},
		GotConn:          func(httptrace.GotConnInfo) { a.wait.Connected() },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { a.handshake.Store(err != nil) },
		GotFirstResponseByte: func() {
			a.answered.Store(true)
			a.wait.Begin()
		},
	}), cancel
}

// lateFault is the fault of an answer that has taken all its time. One that has taken the
// last of its host is not asked for again.
func (a *attempt) lateFault(what string, limit time.Duration, last bool) *fault {
	if !last {
		return stalledf("%s after %s", what, limit)
	}
	f := stalledf("%s after %s, the end of the time for all answers of a pull", what, limit)
	f.retry, f.hint = false, "a host that is slow gets more time by a larger --stall-timeout"
	return f
}

// judge looks at an answer: a proxy that wants a password answers in the place of
// the server.
func (a *attempt) judge(resp *http.Response) error {
	if a.proxy == nil {
		a.r.heard.note(a.req.URL.Host)
		return nil
	}
	a.r.heard.note(a.proxy.Host)
	if resp.StatusCode == http.StatusProxyAuthRequired {
		return a.r.proxies.refusal(a.proxy, a.req.URL.Scheme, a.req.URL.Host, resp)
	}
	return nil
}

// fault says what the failure of the request means, whose it is, and what to do
// about it.
func (a *attempt) fault(err error) *fault {
	if f := faultOf(err); f != nil {
		return f
	}
	if isProxyFailure(err) && a.proxy != nil {
		return a.proxyFault(insideProxy(err))
	}
	row, named := neterror.Of(err)
	switch {
	case named:
	case a.handshake.Load():
		row.Reason, row.Prospect, row.Unreached = "tls", neterror.Permanent, true
	case a.answered.Load():
		f := malformedf("answers something else than HTTP: %w", err)
		f.hint = a.checkPort()
		return f
	}
	f := rowFault(row, err)
	f.settle(a.r, a.req.URL.Host)
	a.explain(f)
	return f
}

// proxyFault is the fault of a proxy that cannot be reached.
func (a *attempt) proxyFault(err error) *fault {
	f := networkFault(err)
	f.err = fmt.Errorf("%s: %w", a.r.proxies.name(a.proxy, a.req.URL.Scheme), f.err)
	f.unreachable = true
	f.settle(a.r, a.proxy.Host)
	f.hint = "check that the proxy runs at this address, or correct " + a.r.proxies.from[a.req.URL.Scheme]
	return f
}

// explain adds to f what to do about it, and whose fault it is where the error
// leaves that open.
func (a *attempt) explain(f *fault) {
	name := a.req.URL.Host
	switch {
	case f.reason == "dns" && !neterror.IsA[*net.DNSError](f.err):
		f.hint = fmt.Sprintf("%s is no address: check the host and the port", name)
	case f.reason == "dns" && !f.isTemporary():
		f.hint = fmt.Sprintf("the name %s does not resolve: check how it is spelled, and the name servers of this machine", a.req.URL.Hostname())
	case f.reason == "refused" && !f.isTemporary():
		f.hint = fmt.Sprintf("no server listens at %s: check the name and the port, or start the registry", name)
	case neterror.IsNotTLS(f.err):
		a.explainNoTLS(f)
	case neterror.IsA[*tls.CertificateVerificationError](f.err):
		f.hint = a.certificateHint(f.err)
	case f.reason == "tls":
		a.explainHandshake(f)
	}
}

// explainNoTLS is about a server that does not speak TLS.
func (a *attempt) explainNoTLS(f *fault) {
	header, _ := errors.AsType[tls.RecordHeaderError](f.err)
	if string(header.RecordHeader[:]) != "HTTP/" {
		f.hint = a.checkPort()
		return
	}
	f.err = fmt.Errorf("speaks plain HTTP and was asked by HTTPS: %w", f.err)
	f.hint = fmt.Sprintf("allow it with --plain-http, or with server = %q in its hosts.toml", "http://"+a.h.Name)
	if !a.isOwn() {
		f.hint = fmt.Sprintf("name it as http://%s where it is configured", a.req.URL.Host)
	}
}

func (a *attempt) checkPort() string {
	hint := fmt.Sprintf("something else than a registry answers at %s: check the name and the port", a.req.URL.Host)
	if a.req.URL.Scheme == "http" {
		hint += "; if it speaks HTTPS, leave out --plain-http"
	}
	return hint
}

// isOwn reports whether the request went to the reference's own host, about which
// the flags of the command line are.
func (a *attempt) isOwn() bool { return !a.h.Mirror && a.h.isOrigin(a.req.URL) }

// certificateHint says what to do about a certificate that was not accepted.
func (a *attempt) certificateHint(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "the certificate of the server has to be renewed, unless the clock of this machine is wrong"
	}
	switch {
	case neterror.IsA[x509.HostnameError](err):
		return "the certificate is for another name: check the name of the registry"
	case neterror.IsA[x509.UnknownAuthorityError](err) && !a.isOwn():
		return "name the authority of the certificate as ca where the host is configured (hosts.toml or the profile)"
	case neterror.IsA[x509.UnknownAuthorityError](err):
		return "--tlscacert FILE names the authority of the certificate, --skip-verify accepts any certificate"
	}
	return "the server needs another certificate"
}

// explainHandshake is about a handshake that one side has ended.
func (a *attempt) explainHandshake(f *fault) {
	got, ok := neterror.AlertOf(f.err)
	switch {
	case ok && got.IsAboutClient() && len(a.via.TLSClientConfig.Certificates) > 0:
		f.err = fmt.Errorf("does not accept the client certificate: %w", f.err)
		f.hint = "the server has to know the authority of the client certificate, which must not have expired"
		return
	case ok && got.IsAboutClient():
		f.err = fmt.Errorf("wants a client certificate: %w", f.err)
		f.hint = "give one with --tlscert FILE and --tlskey FILE, or as client in hosts.toml"
		return
	case ok && !got.IsAboutHandshake():
		f.hint = a.checkPort()
		return
	}
	if spoken := a.spoken(); spoken != "" {
		f.err = fmt.Errorf("speaks %s, and this program TLS 1.2 and 1.3: %w", spoken, f.err)
		f.hint = "the server needs a newer TLS: what it speaks is no longer safe"
		return
	}
	f.err = fmt.Errorf("ended the handshake, as a server does that wants a client certificate: %w", f.err)
	f.hint = "if it wants one, give it with --tlscert FILE and --tlskey FILE, or as client in hosts.toml"
}

// probeTime bounds how long a server is asked what it speaks.
const probeTime = 500 * time.Millisecond

var errProbed = errors.New("probed")

// spoken asks the server which TLS it would speak if what is no longer safe were
// allowed. It is empty if the server does not say, or if that is what it was asked by
// before. No request is sent.
func (a *attempt) spoken() string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.req.Context()), probeTime)
	defer cancel()
	probe := a.via.Clone()
	defer probe.CloseIdleConnections()
	c := probe.TLSClientConfig
	c.MinVersion, c.InsecureSkipVerify = tls.VersionTLS10, true
	c.CipherSuites = neterror.EverySuite()
	found := make(chan string, 1) // the handshake may go on when its time is up
	c.VerifyConnection = func(s tls.ConnectionState) error {
		select {
		case found <- neterror.UnsafePart(s):
		default:
		}
		return errProbed
	}
	bare := (&http.Request{Method: http.MethodHead, URL: a.req.URL, Host: a.req.Host, Header: http.Header{}}).WithContext(ctx)
	if resp, err := probe.RoundTrip(bare); err == nil {
		_ = resp.Body.Close() // never so: errProbed ends the handshake
	}
	select {
	case part := <-found:
		return part
	default:
		return ""
	}
}

// rowFault makes a fault of an error that the row is about.
func rowFault(row neterror.Row, err error) *fault {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("connection closed before the answer: %w", err)
	}
	f := &fault{
		reason: row.Reason, class: row.Class, retry: row.Prospect != neterror.Permanent, brief: row.Prospect == neterror.Brief,
		unreachable: row.Unreached, err: err,
	}
	if neterror.IsA[x509.SystemRootsError](err) {
		f.hint = "install the certificates of the system (ca-certificates), or name one with --tlscacert FILE"
	}
	return f
}

// settle takes the doubt out of a brief failure: a server that has answered in this
// call is there, and will be there again.
func (f *fault) settle(r *Registry, server string) {
	f.brief, f.contacted = f.brief && !r.heard.has(server), server
}

// isTemporary reports whether the failure is expected to pass.
func (f *fault) isTemporary() bool { return f.retry && !f.brief }

// networkFault classifies an error of the transport; a fault stays what it is.
func networkFault(err error) *fault {
	if f := faultOf(err); f != nil {
		return f
	}
	row, _ := neterror.Of(err)
	return rowFault(row, err)
}
