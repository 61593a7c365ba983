package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// fisher is a registry that asks for a password, on an
// address of its own, and holds what a name may be made of.
func fisher(w *world, addr, user string, names ...string) *testregistry.Registry {
	o := basic(user)
	o.Addr = addr
	return w.registry(o, names...)
}

func parsed(t *testing.T, name string) source.Ref {
	t.Helper()
	ref, err := source.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// gotSecret reports whether a registry has received a credential.
func gotSecret(r *testregistry.Registry) bool {
	for _, req := range append(r.Requests(), r.TokenRequests()...) {
		if req.Header.Get("Authorization") != "" {
			return true
		}
	}
	return false
}

// TestH1bCredentialsBelongToHosts pulls from the registry of a profile and from
// one that the author of a name has chosen, which gets no credential by any kind of
// profile, and the error says why.
func TestH1bCredentialsBelongToHosts(t *testing.T) {
	const secret = "source = 'password'\nusername = 'robot'\npassword = 'canary'\n"
	for _, tc := range []struct {
		name, text string // %[1]s is the profile's own registry, %[2]s the other
		args       []string
		honest     bool // its own registry gets the credential
		why        string
	}{
		{"-p, patterns of the profile", "[profiles.prod]\nmatch = ['%[1]s']\n[[profiles.prod.credentials]]\n" + secret, []string{"-p", "prod"}, true, "the credentials of profile prod are for"},
		{"-p, patterns of both", "[profiles.prod]\nmatch = ['%[1]s/team/*']\n[[profiles.prod.credentials]]\nmatch = ['%[1]s']\n" + secret, []string{"-p", "prod"}, true, "the credentials of profile prod are for"},
		{"-p, patterns of the credential", "[[profiles.prod.credentials]]\nmatch = ['%[1]s']\n" + secret, []string{"-p", "prod"}, true, ""},
		{"-p, too wide a pattern of the credential", "[profiles.prod]\nmatch = ['%[1]s']\n[[profiles.prod.credentials]]\nmatch = ['*:*']\n" + secret, []string{"-p", "prod"}, true, "the credentials of profile prod are for"},
		{"-p, no patterns", "[[profiles.prod.credentials]]\n" + secret, []string{"-p", "prod"}, false, "names no hosts: give it a match"},
		{"default_profile", "default_profile = 'prod'\n[profiles.prod]\nmatch = ['%[1]s']\n[[profiles.prod.credentials]]\n" + secret, nil, true, "the credentials of profile prod are for"},
		{"extends", "[profiles.base]\nmatch = ['%[1]s']\n[[profiles.base.credentials]]\n" + secret + "[profiles.prod]\nextends = 'base'\n", []string{"-p", "prod"}, true, "the credentials of profile prod are for"},
		{"extends, patterns of its own", "[[profiles.base.credentials]]\n" + secret + "[profiles.prod]\nextends = 'base'\nmatch = ['%[1]s']\n", []string{"-p", "prod"}, true, "the credentials of profile prod are for"},
		{"an authfile", "[profiles.prod]\nmatch = ['%[1]s']\nauthfile = 'auth.json'\n", []string{"-p", "prod"}, true, "the credentials of profile prod are for"},
		{"by pattern, a path like a host", "[profiles.prod]\nmatch = ['*:*/app', '%[1]s', '127.0.0.1*', '*.0.1/*']\n[[profiles.prod.credentials]]\nmatch = ['%[1]s', '127.0.0.1*', '*.0.1/*', '?27.0.0.2/*']\n" + secret, nil, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &world{t: t, root: t.TempDir()}
			own := fisher(w, "127.0.0.1:0", "robot", "team/app:1")
			evil := fisher(w, "127.0.0.2:0", "robot", "team/app:1", "127.0.0.1/team/app:1")
			w.write("/etc/containerd-pull/auth.json", fmt.Sprintf(`{"auths":{%q:{"auth":"cm9ib3Q6Y2FuYXJ5"},%q:{"auth":"cm9ib3Q6Y2FuYXJ5"}}}`, own.Host(), evil.Host()), 0o600)
			text := tc.text
			if strings.Contains(text, "%[") {
				text = strings.NewReplacer("%[1]s", own.Host(), "%[2]s", evil.Host()).Replace(text)
			}
			w.write(system, text, 0o600)
			caller, settings := w.load(call{args: append([]string{"--root", filepath.Join(w.root, "store")}, tc.args...), uid: os.Getuid(), env: map[string]string{"NERDCTL_TOML": ""}})
			for _, name := range []string{"team/app:1", "127.0.0.1/team/app:1"} {
				_, err := tryPull(t, caller, settings, evil.Ref(name), nil)
				if !errdefs.IsUnauthorized(err) || !strings.Contains(err.Error(), tc.why) {
					t.Errorf("%s elsewhere: got %v, want class unauthenticated with %q", name, err, tc.why)
				}
			}
			if gotSecret(evil) {
				t.Error("the other registry got the credential")
			}
			_, err := tryPull(t, caller, settings, own.Ref("team/app:1"), nil)
			if (err == nil) != tc.honest {
				t.Errorf("the profile's own registry: got %v, want success: %v", err, tc.honest)
			}
		})
	}
}

// TestH1bMirrorsHaveTheirOwn: with a reference outside of the profile, a mirror of
// the profile still gets the credential that names it.
func TestH1bMirrorsHaveTheirOwn(t *testing.T) {
	w := &world{t: t, root: t.TempDir()}
	cache := fisher(w, "127.0.0.3:0", "robot", "library/app:1")
	w.write(system, fmt.Sprintf(`
[profiles.prod]
match = ["registry.example.com"]
[[profiles.prod.mirrors]]
host = "registry-1.docker.io"
endpoints = [%q]
resolve = true
[[profiles.prod.credentials]]
match = [%q]
source = "password"
username = "robot"
password = "canary"
`, cache.URL(), cache.Host()), 0o600)
	caller, settings := w.load(call{args: []string{"--root", filepath.Join(w.root, "store"), "-p", "prod"}, uid: os.Getuid(), env: map[string]string{"NERDCTL_TOML": ""}})
	cfg := pullWith(t, caller, settings, "app:1")
	want := []string{"profile prod is for registry.example.com, not for docker.io/library/app:1: its settings are used, its credentials are not"}
	if diff := cmp.Diff(want, cfg.Warnings(parsed(t, "app:1"))); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if got := cfg.Warnings(parsed(t, "Registry.example.com:443/app")); got != nil {
		t.Errorf("inside of the profile: got %v, want no warning", got)
	}
}

// TestM4SpellingsChooseTheProfile: another spelling of the host leaves neither the
// profile nor its pins.
func TestM4SpellingsChooseTheProfile(t *testing.T) {
	w := &world{t: t, root: t.TempDir()}
	r := w.registry(testregistry.Options{}, "team/app:1", "team/app:2")
	host := strings.Replace(r.Host(), "127.0.0.1", "localhost", 1)
	img := pulltest.SmallImage(pulltest.Gzip)
	w.write(system, fmt.Sprintf("[profiles.audited]\nmatch = [%q]\n[profiles.audited.verify]\nmode = 'pinned'\ndigests = ['%s/team/app:1=%s']\n", host, host, img.Desc.Digest), 0o600)
	caller, settings := w.load(call{args: []string{"--root", filepath.Join(w.root, "store")}, uid: os.Getuid(), env: map[string]string{"NERDCTL_TOML": ""}})
	for _, spelled := range []string{host, strings.ToUpper(host), strings.Replace(host, ":", ":0", 1)} {
		pullWith(t, caller, settings, spelled+"/team/app:1")
		_, err := tryPull(t, caller, settings, spelled+"/team/app:2", nil)
		if _, ok := errors.AsType[*trust.Refusal](err); !ok {
			t.Errorf("%s/team/app:2: got %v, want a refusal", spelled, err)
		}
	}
	for _, spelled := range []string{"localhost:443/x", "LOCALHOST/x", "docker.io/library/x", "DOCKER.IO:443/library/x", "registry-1.docker.io/library/x"} {
		w.write(system, "[profiles.a]\nmatch = ['LocalHost', 'registry-1.docker.io']\n", 0o600)
		_, settings := w.load(call{env: map[string]string{"NERDCTL_TOML": ""}})
		cfg, err := settings.Resolve(parsed(t, spelled))
		if err != nil || cfg.Profile != "a" {
			t.Errorf("profile of %s: got %+v, %v, want a", spelled, cfg, err)
		}
	}
}

// TestReachAndCaveats: which hosts each credential can reach, and what its author
// is warned of.
func TestReachAndCaveats(t *testing.T) {
	w := &world{t: t, root: t.TempDir()}
	w.write(system, `
[[credentials]]
source = "registry-token"
token_env = "TOKEN"
[profiles.open]
[[profiles.open.credentials]]
source = "password"
username = "u"
password_env = "P"
[[profiles.open.credentials]]
source = "docker-config"
[profiles.prod]
match = ["*.corp.example", "r.corp.example:5000"]
authfile = "auth.json"
[[profiles.prod.credentials]]
source = "password"
username = "u"
password_env = "P"
[[profiles.prod.credentials]]
match = ["cache.example", "*"]
source = "password"
username = "u"
password_env = "P"
[profiles.none]
`, 0o600)
	_, settings := w.load(call{env: map[string]string{"NERDCTL_TOML": ""}})
	for name, want := range map[string]struct{ reach, caveats []string }{
		"": {
			[]string{"credentials[0] (registry-token): the registry of the reference, whichever that is"},
			[]string{"is sent to whatever registry a reference names"},
		},
		"none": {nil, nil},
		"open": {
			[]string{"credentials[0] (password): no host: neither it nor its profile has a match", "credentials[1] (docker-config): the registry of the reference, as far as it is filed there"},
			[]string{"credentials[0] (password) is sent to no host"},
		},
		"prod": {
			[]string{"credentials[0] (password): *.corp.example, r.corp.example:5000", "credentials[1] (password): cache.example, *", "authfile " + w.root + "/etc/containerd-pull/auth.json: those that it names"},
			[]string{`match "*.corp.example": it stands for every host whose name ends in ".corp.example"`, `credentials[1] (password): match "*": it stands for every registry`},
		},
	} {
		cfg, err := settings.WithProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		var reach []string
		for _, r := range cfg.Reach() {
			reach = append(reach, r.Credential+": "+r.Hosts)
		}
		if diff := cmp.Diff(want.reach, reach); diff != "" {
			t.Errorf("profile %q: reach (-want +got):\n%s", name, diff)
		}
		begins(t, name, cfg, want.caveats)
	}
}

// begins wants the caveats of cfg to hold the texts, one in each.
func begins(t *testing.T, name string, cfg *config.Config, texts []string) {
	t.Helper()
	caveats := cfg.Caveats()
	if len(caveats) != len(texts) {
		t.Errorf("profile %q: got caveats %q, want %d", name, caveats, len(texts))
		return
	}
	for i, text := range texts {
		if !strings.Contains(caveats[i], text) {
			t.Errorf("profile %q: got caveat %q, want %q in it", name, caveats[i], text)
		}
	}
}
