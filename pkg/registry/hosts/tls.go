package hosts

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// tlsFiles is TLS material that options name, as read from its files.
type tlsFiles struct {
	skipVerify bool
	ca         []byte
	certs      []tls.Certificate
}

// loadTLS reads the files that are not "".
func loadTLS(ca, cert, key string, skipVerify bool) (tlsFiles, error) {
	f := tlsFiles{skipVerify: skipVerify}
	if ca != "" {
		pem, err := userfile.Named(ca, maxFile)
		if err != nil {
			return f, failure.New(errdefs.ErrInvalidArgument, "reading CA file %q: %w", ca, err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem.Data) {
			return f, failure.New(errdefs.ErrInvalidArgument, "CA file %q holds no certificate", ca)
		}
		f.ca = pem.Data
	}
	if cert != "" {
		pair, err := loadPair(cert, key)
		if err != nil {
			return f, failure.New(errdefs.ErrInvalidArgument, "loading client certificate %q with key %q: %w", cert, key, err)
		}
		f.certs = []tls.Certificate{pair}
	}
	return f, nil
}

func loadPair(cert, key string) (tls.Certificate, error) {
	certText, err := userfile.Named(cert, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyText, err := userfile.Named(key, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certText.Data, keyText.Data)
}

// apply puts the files on top of what the host's own entry says.
func (f tlsFiles) apply(c *tls.Config) error {
	if f.skipVerify {
		c.InsecureSkipVerify = true
	}
	if f.ca != nil {
		// containerd checks no certificate of localhost; naming a CA asks for
		// the check.
		c.InsecureSkipVerify = f.skipVerify
		if c.RootCAs == nil {
			pool, err := x509.SystemCertPool()
			if err != nil {
				return fmt.Errorf("reading the system's certificates: %w", err)
			}
			c.RootCAs = pool
		}
		c.RootCAs.AppendCertsFromPEM(f.ca)
	}
	if f.certs != nil {
		c.Certificates = f.certs
	}
	return nil
}

func (f tlsFiles) isSet() bool { return f.skipVerify || f.ca != nil || f.certs != nil }
