package source

import (
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

// defaultPort is that of HTTPS.
const defaultPort = "443"

// CanonicalHost returns the one form of a registry's host, in which all that
// compares hosts compares them: in lower case, without the port of HTTPS, zeros
// before a port and the final dot of a name, with an IPv6 address in brackets and
// in its shortest form, and Docker Hub by its one name. An IPv4 address in IPv6
// form is that address. The port of HTTPS is dropped for a registry that is asked
// by plain HTTP as well, at port 80 then: one name has one meaning.
func CanonicalHost(host string) string {
	name, port := splitHost(host)
	name = canonicalName(name)
	if port == "" && (name == "index.docker.io" || name == dockerHubAPI) {
		return DockerHub
	}
	return joinHost(name, port)
}

// HostAliases lists the names of the registry host, its canonical one first.
// Only Docker Hub has more than one.
func HostAliases(host string) []string {
	if host = CanonicalHost(host); host == DockerHub {
		return []string{DockerHub, "index.docker.io", dockerHubAPI}
	}
	return []string{host}
}

// ContactedHost returns the host that serves the API of a registry, given by
// its canonical name.
func ContactedHost(domain string) string {
	if domain == DockerHub {
		return dockerHubAPI
	}
	return domain
}

// SameHost reports whether a and b are the same registry, however each of them
// is spelled.
func SameHost(a, b string) bool { return CanonicalHost(a) == CanonicalHost(b) }

// CredentialNames lists the names under which clients file a credential for
// host, in the order of looking.
func CredentialNames(host string) []string {
	if host = CanonicalHost(host); host == DockerHub {
		return []string{DockerHub, dockerHubAPI, "index.docker.io"}
	}
	return []string{host}
}

// splitHost splits a host into its name or address, without brackets, and its
// port, which is empty for that of HTTPS. Several colons without brackets are an
// IPv6 address, as users write it.
func splitHost(host string) (name, port string) {
	if inside, rest, ok := strings.Cut(strings.TrimPrefix(host, "["), "]"); ok && isAddress(inside) && (rest == "" || rest[0] == ':') {
		return inside, canonicalPort(strings.TrimPrefix(rest, ":"))
	}
	if strings.Count(host, ":") != 1 {
		return host, ""
	}
	name, port, _ = strings.Cut(host, ":")
	return name, canonicalPort(port)
}

// canonicalPort drops zeros before a port, which dialing ignores as well, and the
// port of HTTPS.
func canonicalPort(port string) string {
	if port == "" || strings.Trim(port, "0123456789") != "" {
		return port
	}
	switch digits := strings.TrimLeft(port, "0"); digits {
	case defaultPort:
		return ""
	case "":
		return "0"
	default:
		return digits
	}
}

func joinHost(name, port string) string {
	if addr, err := netip.ParseAddr(name); err == nil && addr.Is6() {
		name = "[" + name + "]"
	}
	if port == "" {
		return name
	}
	return name + ":" + port
}

func canonicalName(name string) string {
	name = strings.TrimRight(name, ".")
	if addr, err := netip.ParseAddr(name); err == nil {
		name = addr.Unmap().String()
	}
	return strings.Map(lowerASCII, name)
}

// lowerASCII leaves other letters alone: Unicode makes ASCII of some that no
// resolver takes for it.
func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r - 'A' + 'a'
	}
	return r
}

// Hostname returns the name or address of a host with or without a port, in
// lower case, without brackets and without the final dot of a name.
func Hostname(host string) string {
	name, _ := splitHost(host)
	return canonicalName(name)
}

// SameHostname reports whether a and b have one name or address, on any ports.
func SameHostname(a, b string) bool { return Hostname(a) == Hostname(b) }

// ListsHost reports whether host is in list. An entry without a port stands for
// all ports, one with the port of HTTPS for that alone.
func ListsHost(list []string, host string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		return SameHost(entry, host) || !namesPort(entry) && SameHostname(entry, host)
	})
}

// namesPort reports whether a port is written behind a host.
func namesPort(host string) bool {
	if strings.HasPrefix(host, "[") {
		return strings.Contains(host, "]:")
	}
	return strings.Count(host, ":") == 1
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
