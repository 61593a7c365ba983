package source_test

import (
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestNamesOfHosts holds what each host is called: as a registry, where it is
// contacted, and in files of credentials.
func TestNamesOfHosts(t *testing.T) {
	hub := []string{"docker.io", "index.docker.io", "registry-1.docker.io"}
	filed := []string{"docker.io", "registry-1.docker.io", "index.docker.io"}
	for _, c := range []struct {
		host, canonical, contacted string
		aliases, credentials       []string
	}{
		{"docker.io", "docker.io", "registry-1.docker.io", hub, filed},
		{"index.docker.io", "docker.io", "registry-1.docker.io", hub, filed},
		{"registry-1.docker.io", "docker.io", "registry-1.docker.io", hub, filed},
		{"Registry-1.DOCKER.io.:0443", "docker.io", "registry-1.docker.io", hub, filed},
		{"docker.io:5000", "docker.io:5000", "docker.io:5000", []string{"docker.io:5000"}, []string{"docker.io:5000"}},
		{"ghcr.io", "ghcr.io", "ghcr.io", []string{"ghcr.io"}, []string{"ghcr.io"}},
		{"REG.example.com:443", "reg.example.com", "reg.example.com", []string{"reg.example.com"}, []string{"reg.example.com"}},
		{"[0:0::01]:05000", "[::1]:5000", "[::1]:5000", []string{"[::1]:5000"}, []string{"[::1]:5000"}},
		{"[::FFFF:7f00:1]", "127.0.0.1", "127.0.0.1", []string{"127.0.0.1"}, []string{"127.0.0.1"}},
		{"::1", "[::1]", "[::1]", []string{"[::1]"}, []string{"[::1]"}},
		{"r.example.com:0", "r.example.com:0", "r.example.com:0", []string{"r.example.com:0"}, []string{"r.example.com:0"}},
		{"\u212A.example.com", "\u212A.example.com", "\u212A.example.com", []string{"\u212A.example.com"}, []string{"\u212A.example.com"}}, // the Kelvin sign, k in lower case
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
		{"ghcr.io", "ghcr.io.", true, true, true},
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
	list := []string{"auth.example.com", "TOKEN.example.com:8443", "Upper.example.com", "https.example.com:0443", "[2001:db8::1]:443", "[2001:db8::2]", "2001:db8::3"}
	for host, want := range map[string]bool{
		"auth.example.com": true, "AUTH.example.com:8443": true, "token.example.com:8443": true,
		"token.example.com": false, "token.example.com:443": false, "example.com": false,
		"upper.example.com": true, "upper.example.com:443": true,
		"https.example.com": true, "https.example.com:443": true, "https.example.com:5000": false,
		"[2001:db8::1]": true, "[2001:db8::1]:5000": false, "[2001:db8::2]:5000": true, "[2001:db8:0::3]:5000": true,
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

// spelling spells a host in one of the ways that reach the same registry.
func spelling(r *rand.Rand, name, port string) string {
	if addr, err := netip.ParseAddr(name); err == nil && addr.Is6() {
		name = "[" + []string{name, addr.StringExpanded(), strings.ToUpper(name)}[r.IntN(3)] + "]"
	} else {
		name = strings.Map(func(c rune) rune {
			if r.IntN(2) == 0 {
				return unicode.ToUpper(c)
			}
			return c
		}, name) + []string{"", "."}[r.IntN(2)]
	}
	switch {
	case port != "443":
		return name + ":" + strings.Repeat("0", r.IntN(3)) + port
	case r.IntN(2) == 0:
		return name + ":" + strings.Repeat("0", r.IntN(3)) + port
	}
	return name
}

// TestSpellings holds random spellings of hosts against each other: those of one
// compare equal everywhere, those of two never do.
func TestSpellings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a.example.com", "b.example.com", "ab.example.com", "localhost", "a-example.com", "10.0.0.1", "fe80::1", "2001:db8::a", "docker.io.example.com", "docker.io"}
	ports := []string{"443", "5000", "80", "8443"}
	for range 5000 {
		one, other := names[r.IntN(len(names))], names[r.IntN(len(names))]
		onePort, otherPort := ports[r.IntN(len(ports))], ports[r.IntN(len(ports))]
		a, b := spelling(r, one, onePort), spelling(r, other, otherPort)
		want := one == other && onePort == otherPort
		if got := source.SameHost(a, b); got != want {
			t.Fatalf("SameHost(%q, %q): got %v, want %v", a, b, got, want)
		}
		p := pattern(t, a+"/x")
		if got := p.Match(b, "x"); got != want {
			t.Fatalf("pattern %s/x matches %s/x: got %v, want %v", a, b, got, want)
		}
	}
	for _, alias := range []string{"docker.io", "index.docker.io", "registry-1.docker.io"} {
		if a := spelling(r, alias, "443"); !source.SameHost(a, "docker.io") {
			t.Errorf("%q is not Docker Hub, want it to be", a)
		}
	}
}

// FuzzCanonicalHost holds that the form is one: nothing changes it again.
func FuzzCanonicalHost(f *testing.F) {
	for _, host := range []string{"ghcr.io", "GHCR.io.:0443", "[::1]:5000", "[::ffff:1.2.3.4]", "::1", "[", "a:b:c", "fe80::1%eth0", ":443"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		once := source.CanonicalHost(host)
		if twice := source.CanonicalHost(once); twice != once {
			t.Errorf("CanonicalHost(%q): got %q, and of that %q", host, once, twice)
		}
	})
}
