// Package testca is the certificate authority of the servers of tests: one
// certificate for whatever listens on loopback, one for clients, and further
// ones by Issue. It writes no files. Start reading at New.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// Authority is a private CA with one certificate for all loopback servers, and
// those named beside them, and one for clients.
type Authority struct {
	key            *ecdsa.PrivateKey
	cert           *x509.Certificate
	server, client tls.Certificate
}

// New makes an authority whose servers are localhost, 127.0.0.1, 127.0.0.2, ::1
// and names.
func New(names ...string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := newTemplate("pulltest CA", 1)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("creating CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("creating CA: %w", err)
	}
	ca := &Authority{key: key, cert: cert}
	server := newTemplate("pulltest server", 2)
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames = append([]string{"localhost"}, names...)
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2), net.IPv6loopback}
	if ca.server, err = ca.issue(server); err != nil {
		return nil, err
	}
	client := newTemplate("pulltest client", 3)
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if ca.client, err = ca.issue(client); err != nil {
		return nil, err
	}
	return ca, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	return key, nil
}

func newTemplate(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// Issue makes a certificate for signatures under a name of its own.
func (a *Authority) Issue(name string, serial int64) (tls.Certificate, error) {
	return a.issue(newTemplate(name, serial))
}

func (a *Authority) issue(template *x509.Certificate) (tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing certificate for %s: %w", template.Subject.CommonName, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Config is for servers, which ask the client for a certificate or not.
func (a *Authority) Config(askClient bool) *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{a.server}, MinVersion: tls.VersionTLS12}
	if askClient {
		c.ClientCAs = x509.NewCertPool()
		c.ClientCAs.AddCert(a.cert)
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// PEM is the certificate of the CA; nil of no authority.
func (a *Authority) PEM() []byte {
	if a == nil {
		return nil
	}
	return encodePEM("CERTIFICATE", a.cert.Raw)
}

// ClientPair is a client certificate and its key in PEM.
func (a *Authority) ClientPair() (cert, key []byte, err error) {
	if a == nil {
		return nil, nil, errors.New("the server has no TLS")
	}
	return pemPair(a.client)
}

// ServerPair is the servers' certificate and its key in PEM.
func (a *Authority) ServerPair() (cert, key []byte, err error) { return pemPair(a.server) }

// pemPair is a certificate that issue made, and its key.
func pemPair(pair tls.Certificate) (cert, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding key: %w", err)
	}
	return encodePEM("CERTIFICATE", pair.Certificate[0]), encodePEM("PRIVATE KEY", der), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Transport trusts the CA and shows its client certificate.
func (a *Authority) Transport() *http.Transport {
	if a == nil {
		return &http.Transport{}
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{a.client}, MinVersion: tls.VersionTLS12,
	}}
}
