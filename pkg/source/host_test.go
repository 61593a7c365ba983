package source_test

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestNamesOfHosts holds what each host is called: as a registry, where it is
// contacted, and in files of credentials.
func TestNamesOfHosts(t *testing.T) {
	hub := []string{"docker.io", "index.docker.io", "registry-1.docker.io"}
	for _, c := range []struct {
		host, canonical, contacted string
		aliases, credentials       []string
	}{
		{"docker.io", "docker.io", "registry-1.docker.io", hub, []string{"docker.io", "index.docker.io"}},
		{"index.docker.io", "docker.io", "registry-1.docker.io", hub, []string{"docker.io", "index.docker.io"}},
		{"registry-1.docker.io", "docker.io", "registry-1.docker.io", hub, []string{"docker.io", "registry-1.docker.io", "index.docker.io"}},
		{"ghcr.io", "ghcr.io", "ghcr.io", []string{"ghcr.io"}, []string{"ghcr.io"}},
		{"REG.example.com:443", "REG.example.com:443", "REG.example.com:443", []string{"REG.example.com:443"}, []string{"reg.example.com"}},
		{"localhost:5000", "localhost:5000", "localhost:5000", []string{"localhost:5000"}, []string{"localhost:5000"}},
	} {
		if got := source.CanonicalHost(c.host); got != c.canonical {
			t.Errorf("CanonicalHost(%q): got %q, want %q", c.host, got, c.canonical)
		}
		if got := source.ContactedHost(c.canonical); got != c.contacted {
			t.Errorf("ContactedHost(%q): got %q, want %q", c.canonical, got, c.contacted)
		}
		if diff := cmp.Diff(c.aliases, source.HostAliases(c.host)); diff != "" {
			t.Errorf("HostAliases(%q) (-want +got):\n%s", c.host, diff)
		}
		if diff := cmp.Diff(c.credentials, source.CredentialNames(c.host)); diff != "" {
			t.Errorf("CredentialNames(%q) (-want +got):\n%s", c.host, diff)
		}
	}
}

// TestComparingHosts asks the questions that there are about two hosts.
func TestComparingHosts(t *testing.T) {
	for _, c := range []struct {
		a, b                   string
		registry, name, domain bool
	}{
		{"ghcr.io", "ghcr.io", true, true, true},
		{"ghcr.io", "GHCR.io:443", true, true, true},
		{"ghcr.io", "ghcr.io.", false, true, true},
		{"ghcr.io", "ghcr.io:5000", false, true, true},
		{"docker.io", "registry-1.docker.io:443", true, false, true},
		{"index.docker.io", "docker.io", true, false, true},
		{"auth.example.com", "r.example.com:5000", false, false, true},
		{"a.github.io", "b.github.io", false, false, false}, // each is a site of its own
		{"example.com", "example.com.evil.org", false, false, false},
		{"127.0.0.1:1", "127.0.0.1:2", false, true, false},
		{"10.0.0.1", "11.0.0.1", false, false, false},
		{"[::1]:5000", "::1", false, true, false},
		{"com", "com", true, true, false},
	} {
		if got := source.SameHost(c.a, c.b); got != c.registry {
			t.Errorf("SameHost(%q, %q): got %v, want %v", c.a, c.b, got, c.registry)
		}
		if got := source.SameHostname(c.a, c.b); got != c.name {
			t.Errorf("SameHostname(%q, %q): got %v, want %v", c.a, c.b, got, c.name)
		}
		if got := source.SameDomain(c.a, c.b); got != c.domain {
			t.Errorf("SameDomain(%q, %q): got %v, want %v", c.a, c.b, got, c.domain)
		}
	}
}

func TestHostname(t *testing.T) {
	for host, want := range map[string]string{
		"GHCR.io": "ghcr.io", "ghcr.io:443": "ghcr.io", "ghcr.io.": "ghcr.io", "[::1]:5000": "::1", "[::1]": "::1", "": "",
	} {
		if got := source.Hostname(host); got != want {
			t.Errorf("Hostname(%q): got %q, want %q", host, got, want)
		}
	}
}

func TestListsHost(t *testing.T) {
	list := []string{"auth.example.com", "TOKEN.example.com:8443", "Upper.example.com"}
	for host, want := range map[string]bool{
		"auth.example.com": true, "AUTH.example.com:8443": true, "token.example.com:8443": true,
		"token.example.com": false, "token.example.com:443": false, "example.com": false,
		"upper.example.com": true, "upper.example.com:443": false,
	} {
		if got := source.ListsHost(list, host); got != want {
			t.Errorf("ListsHost(%q): got %v, want %v", host, got, want)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"https://r.example.com/v2", "https://R.example.com:443/blob?x=y", true},
		{"http://r.example.com", "http://r.example.com:80", true},
		{"http://r.example.com", "https://r.example.com", false},
		{"https://r.example.com", "https://r.example.com:80", false},
		{"https://r.example.com", "https://s.example.com", false},
	} {
		a, errA := url.Parse(c.a)
		b, errB := url.Parse(c.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got := source.SameOrigin(a, b); got != c.want {
			t.Errorf("SameOrigin(%s, %s): got %v, want %v", a, b, got, c.want)
		}
	}
}
