package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Usability N35: an unknown key in a profile stops the calls that use the profile, or
// one that extends it, and all calls if that profile says what may be pulled, or may
// have meant to.
func TestUnknownKeysOfOtherProfiles(t *testing.T) {
	const broken = "[profiles.broken]\nmatch = ['r.example.com']\nnamespase = 'x'\n"
	for _, tc := range []struct {
		name, text, profile, ref string
		fails                    bool
	}{
		{"without a profile", broken, "", "", false},
		{"another profile", broken + "[profiles.good]\n", "good", "", false},
		{"the profile", broken, "broken", "", true},
		{"the profile, by its pattern", broken, "", "r.example.com/app", true},
		{"one that extends it", broken + "[profiles.good]\nextends = 'broken'\n", "good", "", true},
		{"in a table", "[profiles.broken.retry]\ncuont = 3\n", "", "", false},
		{"it verifies", broken + "[profiles.broken.verify]\nmode = 'pinned'\n", "", "", true},
		{"what it extends verifies", broken + "extends = 'base'\n[profiles.base.verify]\nmode = 'pinned'\n", "", "", true},
		{"what it extends is not there", broken + "extends = 'base'\n", "", "", true},
		{"near match", "[profiles.broken]\nmatsh = ['x']\n", "", "", true},
		{"near verify", "[profiles.broken]\nverfiy = 1\n", "", "", true},
		{"near tls", "[profiles.broken.tsl]\nca = 'x'\n", "", "", true},
		{"match of a credential", "[[profiles.broken.credentials]]\nsource = 'anonymous'\nmacth = ['x']\n", "", "", true},
		{"a value that is wrong", "[profiles.broken]\nnamespace = 1\n", "", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := call{files: map[string]string{system: tc.text}, ref: tc.ref}
			if tc.profile != "" {
				c.args = []string{"-p", tc.profile}
			}
			_, _, err := c.load(t)
			if (err != nil) != tc.fails {
				t.Fatalf("got %v, want a failure: %t", err, tc.fails)
			}
			if tc.fails {
				return
			}
			settings, _, err := c.settings(t)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(settings.Warnings(), "\n")
			if !strings.Contains(text, `config.toml:`) || !strings.Contains(text, "unknown key") || !strings.Contains(text, "no pull with profile broken works; did you mean") {
				t.Errorf("got warnings %q", text)
			}
		})
	}
}

// Usability N35: a variable that is nearly one of the program's.
func TestMisspeltVariables(t *testing.T) {
	caller := call{}.caller(t)
	caller.Environ = []string{
		"CONTAINERD_PULL_NAMESPAC=canary", "CONTAINERD_PULL_RETRY_CUONT=3", "CONTAINERD_PULL_NAMESPACE=x", "CONTAINERD_PULL_NAMESPACES=1",
		"CONTAINERD_PULL_QQQQQQQ=1", "CONTAINERD_NAMESPAC=1", config.EnvOwnRoot + "=1", config.EnvShims + "=1",
	}
	flags, err := call{}.flags(t, caller)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(caller, flags)
	if err != nil {
		t.Fatal(err)
	}
	want := "the variable CONTAINERD_PULL_NAMESPAC means nothing here; did you mean CONTAINERD_PULL_NAMESPACE?\n" +
		"the variable CONTAINERD_PULL_RETRY_CUONT means nothing here; did you mean CONTAINERD_PULL_RETRY_COUNT?"
	if got := strings.Join(settings.Warnings(), "\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Proxies of the environment are shown without what may be secret.
func TestProxiesShown(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want string
	}{
		{nil, ""},
		{map[string]string{"HTTPS_PROXY": "http://me:canary@proxy.example.com:3128", "https_proxy": "http://other"}, "HTTPS_PROXY=http://xxxxx@proxy.example.com:3128"},
		{map[string]string{"http_proxy": "canary@proxy.example.com", "NO_PROXY": "localhost,.example.com"}, "http_proxy=xxxxx@proxy.example.com NO_PROXY=localhost,.example.com"},
		{map[string]string{"HTTPS_PROXY": "http://me:can%ary@proxy"}, "HTTPS_PROXY=***"},
		{map[string]string{"HTTPS_PROXY": "http://proxy", "CONTAINERD_PULL_PROXY": "http://own.example.com"}, ""},
	} {
		c := call{env: tc.env}
		settings, _, err := c.settings(t)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := settings.Resolve(source.Ref{})
		if err != nil {
			t.Fatal(err)
		}
		var shown []string
		for _, v := range settings.Proxies(cfg) {
			shown = append(shown, v.Name+"="+v.Value)
		}
		if got := strings.Join(shown, " "); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// Behind ~/, a path of a file is below the home of the caller.
func TestHomeInPaths(t *testing.T) {
	const text = "authfile = '~/auth.json'\nhosts_dir = ['~/certs.d', '~other/certs.d']\n[[credentials]]\nmatch = ['x']\nsource = 'password'\nusername = 'me'\npassword_file = '~/pass'\n"
	c := call{files: map[string]string{system: text}, env: map[string]string{"HOME": "/home/me"}}
	cfg, root, err := c.load(t)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.AuthFile, cfg.Registry.Hosts.Dirs[0], cfg.Credentials[0].PasswordFile, cfg.Registry.Hosts.Dirs[1]}
	want := []string{"/home/me/auth.json", "/home/me/certs.d", "/home/me/pass", filepath.Join(root, "/etc/containerd-pull/~other/certs.d")}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", got, want)
	}
	c.env = nil
	if _, _, err := c.load(t); err == nil || !strings.Contains(err.Error(), "authfile: ~/ is the home of the caller, who has none") {
		t.Errorf("without a home: got %v", err)
	}
}
