package hosts

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/net/http/httpguts"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Mirror is a set of endpoints that hold the content of another registry.
type Mirror struct {
	// Host is the registry that is mirrored, "*" is any.
	Host string
	// Endpoints are URLs in the order of asking; https is added if there is no
	// scheme.
	Endpoints []string
	// Resolve lets the mirror turn tags into digests, which has to be a
	// deliberate act of trust.
	Resolve bool
	// OverridePath keeps the path of an endpoint as it is; otherwise it ends
	// in /v2.
	OverridePath  bool
	CA, Cert, Key string
	SkipVerify    bool
	DialTimeout   time.Duration
	Headers       map[string]string
}

// mirrors lists the endpoints of the options that hold the content of the
// registry name, each once.
func (f *Finder) mirrors(name string) ([]Host, error) {
	var list []Host
	seen := map[string]bool{}
	for _, m := range f.opts.Mirrors {
		if !m.standsFor(name) {
			continue
		}
		for _, endpoint := range m.Endpoints {
			h, err := m.host(name, endpoint)
			if err != nil {
				return nil, fmt.Errorf("configuring mirror %q of %s: %w", endpoint, name, err)
			}
			if url := h.URL(); !seen[url] {
				seen[url] = true
				list = append(list, h)
			}
		}
	}
	return list, nil
}

// standsFor reports whether the mirror holds the content of the registry name.
func (m Mirror) standsFor(name string) bool {
	return m.Host == "*" || source.CanonicalHost(m.Host) == name
}

// host is an endpoint as a mirror of the registry name.
func (m Mirror) host(name, endpoint string) (Host, error) {
	u, err := m.parse(endpoint)
	if err != nil {
		return Host{}, err
	}
	files, err := loadTLS(m.CA, m.Cert, m.Key, m.SkipVerify)
	if err != nil {
		return Host{}, err
	}
	h := Host{
		Name: contacted(u.Host), Path: u.Path, Schemes: []string{u.Scheme}, Mirror: true, Namespace: name, Pull: true, Resolve: m.Resolve,
		Header: http.Header{}, TLS: &tls.Config{}, Dial: (&net.Dialer{Timeout: m.DialTimeout}).DialContext,
	}
	for key, value := range m.Headers {
		h.Header.Set(key, value)
	}
	return h, files.apply(h.TLS)
}

// Validate refuses what would have no effect, or none that can be meant. Its
// errors do not repeat an endpoint, which may hold a password.
func (m Mirror) Validate() error {
	if m.Host != "*" && strings.ContainsAny(m.Host, "*?/@") {
		return failure.New(errdefs.ErrInvalidArgument, "host %q: want the name of a registry, or * for any", m.Host)
	}
	if (m.Cert == "") != (m.Key == "") {
		return failure.New(errdefs.ErrInvalidArgument, "client certificate and key: both or none")
	}
	for name, value := range m.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return failure.New(errdefs.ErrInvalidArgument, "header %q: name or value cannot be sent", name)
		}
	}
	for i, endpoint := range m.Endpoints {
		if _, err := m.parse(endpoint); err != nil {
			return fmt.Errorf("endpoints[%d]: %w", i, err)
		}
	}
	return nil
}

func (m Mirror) parse(endpoint string) (*url.URL, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, failure.New(errdefs.ErrInvalidArgument, "not an http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, failure.New(errdefs.ErrInvalidArgument, "user, query and fragment of a URL are not sent to a mirror; credentials and headers are")
	}
	u.Path = strings.TrimSuffix(path.Clean("/"+u.Path), "/")
	if !m.OverridePath && !strings.HasSuffix(u.Path, "/v2") {
		u.Path += "/v2"
	}
	return u, nil
}
