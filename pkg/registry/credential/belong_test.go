package credential_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

func profile(t *testing.T, patterns ...string) *credential.Profile {
	t.Helper()
	match, err := source.ParsePatterns(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return &credential.Profile{Name: "prod", Match: match}
}

// TestH1CredentialsStayInTheirHost asks for credentials with names whose path
// imitates the host of a pattern.
func TestH1CredentialsStayInTheirHost(t *testing.T) {
	h := newHome(t)
	for pattern, names := range map[string]map[string]bool{
		"*.corp.example":              {"r.corp.example/app": true, "R.Corp.Example:443/app": true, "evil.example/x.corp.example/app": false, "evil.example/r.corp.example": false, "r.corp.example:5000/app": false},
		"*.dkr.ecr.*.amazonaws.com/*": {"1.dkr.ecr.eu.amazonaws.com/app": true, "evil.example/1.dkr.ecr.eu.amazonaws.com/app": false},
		"r.corp.example*":             {"r.corp.example/app": true, "r.corp.example:5000/app": false},
		"[::1]:5000":                  {"[0::1]:05000/app": true, "[::1]:5001/app": false, "[::2]:5000/app": false},
		"docker.io/library/*":         {"alpine": true, "registry-1.docker.io/library/x": true, "DOCKER.IO:443/library/x": true, "docker.io:5000/library/x": false},
	} {
		o := credential.Options{Entries: []credential.Entry{{Match: []string{pattern}, Source: "password", Username: "u", Password: "canary"}}}
		for name, want := range names {
			ref, err := source.ParseRef(name)
			if err != nil {
				t.Fatal(err)
			}
			cred, err := h.find(o, source.ContactedHost(ref.Domain), name)
			if got := cred.Password != ""; err != nil || got != want {
				t.Errorf("the credential for %s with %s: got %v, %v, want %v", pattern, name, got, err, want)
			}
		}
	}
}

// TestH1bCredentialsOfAProfile: which host gets a credential of a profile, by the
// patterns of both and by the kind of the source.
func TestH1bCredentialsOfAProfile(t *testing.T) {
	h := newHome(t)
	h.script("docker-credential-any", `read server; echo "{\"Username\":\"u\",\"Secret\":\"canary\"}"`)
	file := h.write("auth.json", auths("r.example.com", "cache.example.com", "evil.example"), 0o600)
	password := credential.Entry{Source: "password", Username: "u", Password: "canary"}
	with := func(e credential.Entry, match ...string) credential.Entry { e.Match = match; return e }
	for _, c := range []struct {
		name      string
		entry     credential.Entry
		profile   *credential.Profile
		host, ref string
		want      bool
		why       string // in Withheld
	}{
		{"inside", password, profile(t, "r.example.com"), "r.example.com", "r.example.com/app", true, ""},
		{"inside, spelled otherwise", password, profile(t, "r.example.com"), "r.example.com", "R.example.com:443/app", true, ""},
		{"outside", password, profile(t, "r.example.com"), "evil.example", "evil.example/app", false, "profile prod are for r.example.com"},
		{"outside by the path", password, profile(t, "r.example.com/prod/*"), "r.example.com", "r.example.com/dev/app", false, "r.example.com/prod/*"},
		{"outside by the port", password, profile(t, "r.example.com"), "r.example.com:5000", "r.example.com:5000/app", false, "profile prod"},
		{"outside, a path like a host", password, profile(t, "*.example.com"), "evil.example", "evil.example/r.example.com/app", false, "profile prod"},
		{"outside, own patterns", with(password, "evil.example"), profile(t, "r.example.com"), "evil.example", "evil.example/app", false, "profile prod"},
		{"outside, a mirror by its own entry", with(password, "cache.example.com"), profile(t, "r.example.com"), "cache.example.com", "evil.example/app", true, ""},
		{"inside, a mirror by its own entry", with(password, "cache.example.com"), profile(t, "r.example.com"), "cache.example.com", "r.example.com/app", true, ""},
		{"a mirror without an entry", password, profile(t, "*.example.com"), "cache.example.com", "r.example.com/app", false, ""},
		{"no patterns", password, profile(t), "r.example.com", "r.example.com/app", false, "names no hosts"},
		{"no patterns, own ones", with(password, "r.example.com"), profile(t), "r.example.com", "r.example.com/app", true, ""},
		{"no patterns, own ones, another host", with(password, "r.example.com"), profile(t), "evil.example", "evil.example/app", false, ""},
		{"no patterns, a file", credential.Entry{Source: "authfile", Path: file}, profile(t), "r.example.com", "r.example.com/app", true, ""},
		{"outside, a file", credential.Entry{Source: "authfile", Path: file}, profile(t, "r.example.com"), "evil.example", "evil.example/app", false, "profile prod"},
		{"no patterns, a helper", credential.Entry{Source: "helper", Helper: "any"}, profile(t), "r.example.com", "r.example.com/app", true, ""},
		{"outside, a helper", credential.Entry{Source: "helper", Helper: "any"}, profile(t, "r.example.com"), "evil.example", "evil.example/app", false, "profile prod"},
		{"no profile", password, nil, "r.example.com", "r.example.com/app", true, ""},
		{"no profile, another host", password, nil, "cache.example.com", "r.example.com/app", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.entry.Profile = c.profile
			cred, err := h.find(credential.Options{Entries: []credential.Entry{c.entry}}, c.host, c.ref)
			if got := cred.Password != ""; err != nil || got != c.want {
				t.Errorf("%s gets the credential: got %v, %v, want %v", c.host, got, err, c.want)
			}
			if c.why == "" && cred.Withheld != "" || !strings.Contains(cred.Withheld, c.why) {
				t.Errorf("withheld: got %q, want %q in it", cred.Withheld, c.why)
			}
		})
	}
	for ref, want := range map[string]bool{"r.example.com/app": true, "evil.example/app": false} {
		host, _, _ := strings.Cut(ref, "/")
		cred, err := h.find(credential.Options{EntriesFile: file, FileProfile: profile(t, "r.example.com")}, host, ref)
		if got := cred.Password != ""; err != nil || got != want {
			t.Errorf("%s gets the credential of the profile's authfile: got %v, %v, want %v", host, got, err, want)
		}
	}
}

// TestM4KeysOfAuths finds a credential under any spelling of its host, and never
// under that of another.
func TestM4KeysOfAuths(t *testing.T) {
	h := newHome(t)
	for key, hosts := range map[string]map[string]bool{
		"https://r.example.com/v1/":          {"r.example.com": true, "r.example.com:5000": false},
		"https://R.example.com:443/v2/":      {"r.example.com": true},
		"HTTPS://r.example.com/":             {"r.example.com": true},
		"r.example.com/":                     {"r.example.com": true, "example.com": false},
		"r.example.com.":                     {"r.example.com": true},
		"R.Example.Com":                      {"r.example.com": true},
		"LOCALHOST:05000":                    {"localhost:5000": true, "localhost": false},
		"[0:0::1]:5000":                      {"[::1]:5000": true, "[::1]": false},
		"index.docker.io/v1/":                {"registry-1.docker.io": true},
		"https://index.docker.io/v1":         {"registry-1.docker.io": true},
		"https://evil.example/r.example.com": {"r.example.com": false},
		"ftp://r.example.com":                {"r.example.com": false},
		"r.example.com/v2/team":              {"r.example.com": false},
		"R.example.com/team":                 {"r.example.com": true},
		"r.example.com/tea":                  {"r.example.com": false},
	} {
		h.write(".docker/config.json", fmt.Sprintf(`{"auths":{%q:{"auth":"dTpjYW5hcnk"}}}`, key), 0o600) // u:canary without padding
		for host, want := range hosts {
			cred, err := h.find(credential.Options{}, host, "r.example.com/team/app")
			if got := cred.Password == "canary"; err != nil || got != want {
				t.Errorf("filed under %s, %s gets it: got %v, %v, want %v", key, host, got, err, want)
			}
		}
	}
}
