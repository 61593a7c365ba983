package output

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// Host is a host in JSON. The names are API.
type Host struct {
	Host       string   `json:"host"`
	URL        string   `json:"url"`
	Mirror     bool     `json:"mirror"`
	Pull       bool     `json:"pull"`
	Resolve    bool     `json:"resolve"`
	TLS        string   `json:"tls"`
	Headers    []string `json:"headers"`
	Credential string   `json:"credential"` // its source; empty if there is none
	// CredentialFor is which hosts the credential may be sent to, in words;
	// CredentialWithheld is why the host does not get one that is configured.
	CredentialFor      string `json:"credential_for,omitempty"`
	CredentialWithheld string `json:"credential_withheld,omitempty"`
	// Proxy is host and port of the proxy that is asked, and ProxyFrom what names it;
	// empty if the host itself is asked.
	Proxy     string `json:"proxy,omitempty"`
	ProxyFrom string `json:"proxy_from,omitempty"`
}

// Credential is what may be shown of one: where it is, which hosts it may be sent
// to, and where there is none, why one that is configured was withheld.
type Credential struct{ Source, For, Withheld string }

// NewHost returns a host with its credential for showing.
func NewHost(h hosts.Host, cred Credential) Host {
	headers := slices.AppendSeq([]string{}, maps.Keys(h.Header)) // an empty list in JSON, not null
	slices.Sort(headers)
	return Host{
		Host: h.Name, URL: h.URL(), Mirror: h.Mirror, Pull: h.Pull, Resolve: h.Resolve,
		TLS: describeTLS(h), Headers: headers, Credential: cred.Source,
		CredentialFor: cred.For, CredentialWithheld: cred.Withheld,
	}
}

func describeTLS(h hosts.Host) string {
	parts := []string{"certificate checked"}
	switch {
	case h.Schemes[0] == "http":
		parts[0] = "none"
	case h.TLS.InsecureSkipVerify:
		parts[0] = "certificate not checked"
	case h.TLS.RootCAs != nil:
		parts[0] = "certificate checked, own CA"
	}
	if len(h.TLS.Certificates) > 0 {
		parts = append(parts, "client certificate")
	}
	for _, fallback := range h.Schemes[1:] {
		parts = append(parts, "else "+fallback)
	}
	return strings.Join(parts, ", ")
}

// credential is where the credential comes from and which hosts it is for, or why
// there is none.
func (h Host) credential() string {
	text := cmp.Or(h.Credential, "none")
	if h.CredentialFor != "" {
		text += ", for " + h.CredentialFor
	}
	if h.CredentialWithheld != "" {
		text += ": " + h.CredentialWithheld
	}
	return text
}

// Hosts is the result of hosts check in JSON.
type Hosts []Host

// Write writes a line for each host and each of its headers.
func (all Hosts) Write(w io.Writer) {
	for _, h := range all {
		var may []string
		if h.Pull {
			may = append(may, "pull")
		}
		if h.Resolve {
			may = append(may, "resolve")
		}
		fmt.Fprintf(w, "%s\t%s\tTLS: %s\tcredential: %s\n", h.URL, strings.Join(may, ", "), h.TLS, h.credential())
		if h.Proxy != "" {
			fmt.Fprintf(w, "\tproxy %s, from %s\t\t\n", h.Proxy, h.ProxyFrom)
		}
		for _, name := range h.Headers {
			fmt.Fprintf(w, "\theader %s\t\t\n", name)
		}
	}
}
