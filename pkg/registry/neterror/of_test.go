package neterror_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/registry/neterror"
)

func TestOfErrors(t *testing.T) {
	const temporary = neterror.Prospect(0)
	dial := func(err error) error { return &url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: err}} }
	read := func(err error) error { return &url.Error{Op: "Get", Err: &net.OpError{Op: "read", Err: err}} }
	for name, c := range map[string]struct {
		err       error
		reason    string
		prospect  neterror.Prospect
		unreached bool
	}{
		"mistyped name":    {dial(&net.DNSError{IsNotFound: true}), "dns", neterror.Brief, true},
		"name server":      {dial(&net.DNSError{IsTemporary: true}), "dns", temporary, true},
		"no server":        {dial(syscall.ECONNREFUSED), "refused", neterror.Brief, true},
		"firewall":         {dial(syscall.EPERM), "refused", neterror.Permanent, true},
		"slow to connect":  {dial(context.DeadlineExceeded), "stall", temporary, true},
		"reset":            {read(syscall.ECONNRESET), "reset", temporary, false},
		"time-out":         {&url.Error{Op: "Get", Err: timeout{}}, "stall", temporary, false},
		"cut short":        {fmt.Errorf("body: %w", io.ErrUnexpectedEOF), "reset", temporary, false},
		"wrong name":       {&tls.CertificateVerificationError{Err: x509.HostnameError{}}, "tls", neterror.Permanent, true},
		"mistake":          {http.ErrContentLength, "", neterror.Permanent, false},
		"of another cause": {errors.New("unknown"), "reset", temporary, false},
	} {
		row, known := neterror.Of(c.err)
		if row.Reason != c.reason || row.Prospect != c.prospect || row.Unreached != c.unreached {
			t.Errorf("%s: got %+v, want %+v", name, row, c)
		}
		if known != (name != "of another cause") {
			t.Errorf("%s: got a row: %v", name, known)
		}
		if !errdefs.IsUnavailable(row.Class) && name != "mistake" {
			t.Errorf("%s: got class %v, want %v", name, row.Class, errdefs.ErrUnavailable)
		}
	}
}

type timeout struct{}

func (timeout) Error() string   { return "slow" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// TestAlerts meets servers that end the handshake, because the type of the error is
// not exported.
func TestAlerts(t *testing.T) {
	for name, c := range map[string]struct {
		server                 *tls.Config
		aboutClient, aboutBoth bool
	}{
		"client certificate": {server: &tls.Config{ClientAuth: tls.RequireAnyClientCert}, aboutClient: true},
		"version":            {server: &tls.Config{MaxVersion: tls.VersionTLS11}, aboutBoth: true},
	} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.TLS = c.server
		s.Config.ErrorLog = nil
		s.StartTLS()
		resp, err := s.Client().Get(s.URL)
		if err == nil {
			resp.Body.Close()
		}
		s.Close()
		alert, ok := neterror.AlertOf(err)
		if !ok || alert.IsAboutClient() != c.aboutClient || alert.IsAboutHandshake() != c.aboutBoth {
			t.Errorf("%s: got alert %d (%v) of %v", name, alert, ok, err)
		}
		if row, _ := neterror.Of(err); row.Reason != "tls" || row.Prospect != neterror.Permanent {
			t.Errorf("%s: got %+v, want a permanent failure of TLS", name, row)
		}
	}
	if alert, ok := neterror.AlertOf(io.EOF); ok {
		t.Errorf("got alert %d of an error that is none", alert)
	}
}

func TestNotTLS(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		conn.Close()
	}
	if !neterror.IsNotTLS(err) || neterror.IsNotTLS(io.EOF) {
		t.Errorf("got %v as TLS", err)
	}
}
