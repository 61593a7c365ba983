package source

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// DockerHub is the one name of Docker Hub; its API is at dockerHubAPI.
const (
	DockerHub    = "docker.io"
	dockerHubAPI = "registry-1.docker.io"
)

// HostAliases lists the names of the registry host, its canonical one first.
// Only Docker Hub has more than one.
func HostAliases(host string) []string {
	hub := []string{DockerHub, "index.docker.io", dockerHubAPI}
	if slices.Contains(hub, host) {
		return hub
	}
	return []string{host}
}

// CanonicalHost gives the hosts of Docker Hub their one name.
func CanonicalHost(host string) string { return HostAliases(host)[0] }

// ContactedHost returns the host that serves the API of a registry, given by
// its canonical name.
func ContactedHost(domain string) string {
	if domain == DockerHub {
		return dockerHubAPI
	}
	return domain
}

// SameHost reports whether a and b are the same registry, in any case, with or
// without the port of HTTPS, and by any name of Docker Hub.
func SameHost(a, b string) bool { return comparableHost(a) == comparableHost(b) }

func comparableHost(host string) string {
	return CanonicalHost(WithoutDefaultPort(strings.ToLower(host)))
}

// WithoutDefaultPort drops the port of HTTPS from a host.
func WithoutDefaultPort(host string) string { return strings.TrimSuffix(host, ":443") }

// CredentialNames lists the names under which a credential for host may be
// filed, in the order of looking: as the host is contacted, in lower case and
// without the port of HTTPS, between the two names that clients of Docker Hub
// have used.
func CredentialNames(host string) []string {
	host = WithoutDefaultPort(strings.ToLower(host))
	if CanonicalHost(host) != DockerHub {
		return []string{host}
	}
	return slices.Compact([]string{DockerHub, host, "index.docker.io"})
}

// Hostname returns the name or address of a host with or without a port, in
// lower case, without brackets and without the final dot of a name.
func Hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// SameHostname reports whether a and b have one name or address, on any ports.
func SameHostname(a, b string) bool { return Hostname(a) == Hostname(b) }

// ListsHost reports whether host is in list. An entry without a port stands for
// all ports.
func ListsHost(list []string, host string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		return strings.EqualFold(entry, host) || Hostname(entry) == entry && Hostname(host) == entry
	})
}

// SameOrigin reports whether a and b have one scheme, host and port, where a
// missing port is that of the scheme.
func SameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && SameHostname(a.Host, b.Host) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// SameDomain reports whether two hosts belong to one registrable domain: a
// public suffix and one label. Addresses have none.
func SameDomain(a, b string) bool {
	a, b = Hostname(a), Hostname(b)
	if isAddress(a) || isAddress(b) {
		return false
	}
	domainA, errA := publicsuffix.EffectiveTLDPlusOne(a)
	domainB, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && domainA == domainB
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
