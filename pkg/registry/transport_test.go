package registry_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// certificates returns one self-signed certificate for loopback as CA, and as
// a pair.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// secure is a TLS server with a certificate of its own.
type secure struct {
	*fake
	ca, cert, key string // files
}

func serveTLS(t *testing.T, ip string, change func(*tls.Config), handler http.HandlerFunc) secure {
	t.Helper()
	ca, cert, key := certificates(t)
	dir := t.TempDir()
	s := secure{fake: unstarted(t, ip, handler), ca: filepath.Join(dir, "ca"), cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	writeFile(t, s.ca, ca)
	writeFile(t, s.cert, cert)
	writeFile(t, s.key, key)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool}
	if change != nil {
		change(s.TLS)
	}
	s.StartTLS()
	return s
}

func TestTLSFlags(t *testing.T) {
	srv := serveTLS(t, "127.0.0.1", nil, manifest(manifestJSON(t)))
	mutual := serveTLS(t, "127.0.0.1", func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert }, manifest(manifestJSON(t)))
	wrong := filepath.Join(t.TempDir(), "wrong")
	ca, _, _ := certificates(t)
	writeFile(t, wrong, ca)
	tests := []struct {
		name string
		srv  secure
		o    registry.Options
		ok   bool
	}{
		{"CA", srv, registry.Options{Hosts: hosts.Options{CA: srv.ca}}, true},
		{"another CA", srv, registry.Options{Hosts: hosts.Options{CA: wrong}}, false},
		{"skip verify", srv, registry.Options{Hosts: hosts.Options{SkipVerify: true}}, true},
		{"insecure", srv, registry.Options{Hosts: hosts.Options{Insecure: true}}, true},
		{"localhost by itself", srv, registry.Options{}, true},
		{"plain", srv, registry.Options{Hosts: hosts.Options{PlainHTTP: true}}, false},
		{"client certificate", mutual, registry.Options{Hosts: hosts.Options{CA: mutual.ca, Cert: mutual.cert, Key: mutual.key}}, true},
		{"no client certificate", mutual, registry.Options{Hosts: hosts.Options{CA: mutual.ca}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var e events
			tt.o.Progress = e.add
			_, err := open(t, tt.o).Resolve(t.Context(), tt.srv.ref(t, "a"))
			if (err == nil) != tt.ok {
				t.Errorf("got %v, want success: %v", err, tt.ok)
			}
			if len(e.list) != 0 {
				t.Errorf("got events %q, want none: a certificate does not get better", e.kinds())
			}
		})
	}
}

func TestCertificateErrorIsFinal(t *testing.T) {
	srv := serveTLS(t, "127.0.0.1", nil, manifest(manifestJSON(t)))
	dir := hostsDir(t, srv.host(), `server = "`+srv.URL+`"`)
	_, err := open(t, registry.Options{Hosts: hosts.Options{Dirs: []string{dir}}}).Resolve(t.Context(), srv.ref(t, "a"))
	if !errdefs.IsUnavailable(err) || registry.Reason(err) != "tls" || registry.Retryable(err) {
		t.Errorf("got %v, reason %q, want a final TLS error", err, registry.Reason(err))
	}
}

func TestSchemes(t *testing.T) {
	plain := serve(t, manifest(manifestJSON(t)))
	https := hostsDir(t, plain.host(), `server = "https://`+plain.host()+`"`)
	withTLS := hostsDir(t, plain.host(), "server = \"http://"+plain.host()+"\"\nskip_verify = false\n")
	tests := []struct {
		name string
		o    registry.Options
		ok   bool
	}{
		{"localhost", registry.Options{}, true},
		{"plain", registry.Options{Hosts: hosts.Options{PlainHTTP: true}}, true},
		{"insecure", registry.Options{Hosts: hosts.Options{Insecure: true}}, true},
		{"skip verify at localhost", registry.Options{Hosts: hosts.Options{SkipVerify: true}}, true},
		{"configured https", registry.Options{Hosts: hosts.Options{Dirs: []string{https}}}, false},
		{"configured https, plain by flag", registry.Options{Hosts: hosts.Options{Dirs: []string{https}, PlainHTTP: true}}, true},
		{"configured https, insecure by flag", registry.Options{Hosts: hosts.Options{Dirs: []string{https}, Insecure: true}}, true},
		{"configured http with TLS settings", registry.Options{Hosts: hosts.Options{Dirs: []string{withTLS}}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t, tt.o)
			for range 2 { // the second time with the scheme settled
				if _, err := r.Resolve(t.Context(), plain.ref(t, "a")); (err == nil) != tt.ok {
					t.Errorf("got %v, want success: %v", err, tt.ok)
				}
			}
		})
	}
}

// A redirect target is a stranger: it does not see the client certificate.
func TestClientCertificateStaysHome(t *testing.T) {
	blob := blobBytes(10)
	var certs int
	cdn := serveTLS(t, "127.0.0.2", func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }, func(w http.ResponseWriter, req *http.Request) {
		certs += len(req.TLS.PeerCertificates)
		content(blob)(w, req)
	})
	srv := serveTLS(t, "127.0.0.1", func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert }, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, cdn.URL, http.StatusFound)
	})
	r := open(t, registry.Options{Hosts: hosts.Options{SkipVerify: true, Cert: srv.cert, Key: srv.key}})
	if _, _, err := read(t, r, srv.ref(t, "a"), blob, source.Range{}); err != nil {
		t.Fatal(err)
	}
	if certs != 0 {
		t.Errorf("got %d client certificates at the redirect target, want none", certs)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		o    registry.Options
		says string
	}{
		"hosts": {registry.Options{Hosts: hosts.Options{Cert: "c.pem"}}, "both or none"},
		"proxy": {registry.Options{Proxy: "http://user:canary@%zz"}, "proxy"},
		"proxy with a password that is not encoded": {registry.Options{Proxy: "http://user:canary#1@proxy:3128"}, "proxy"},
		"negative stall":    {registry.Options{StallTimeout: -1}, "negative"},
		"negative rate":     {registry.Options{MinRate: -1}, "negative"},
		"negative size":     {registry.Options{ManifestBytes: -1}, "negative"},
		"negative requests": {registry.Options{RequestsPerSecond: -1}, "negative"},
		"token URL":         {registry.Options{TokenHosts: []string{"https://auth.example.com"}}, "HOST:PORT"},
		"token pattern":     {registry.Options{TokenHosts: []string{"*.example.com"}}, "HOST:PORT"},
		"negative delay":    {registry.Options{Retry: registry.Retry{Delay: -1}}, "negative"},
	} {
		_, err := registry.New(tt.o)
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want an invalid argument about %s", name, err, tt.says)
		}
	}
	if _, err := registry.New(registry.Options{}); err != nil {
		t.Errorf("got %v, want the zero value to work", err)
	}
}
