package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestHomeOfService: without HOME, as in services of systemd and cron, the home of
// the passwd database counts, for configuration and credentials alike
// (cri-dockerd#349, fleet#1094).
func TestHomeOfService(t *testing.T) {
	home, passwd := t.TempDir(), t.TempDir()
	for _, dir := range []string{home, passwd} {
		for name, text := range map[string]string{
			".config/containerd-pull/config.toml": "namespace = '" + filepath.Base(dir) + "'",
			".docker/config.json":                 `{"auths":{"r.example.com":{"username":"` + filepath.Base(dir) + `","password":"canary"}}}`,
		} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		env  map[string]string
		want string
	}{
		"HOME":          {map[string]string{"HOME": home}, home},
		"no HOME":       {nil, passwd},
		"empty HOME":    {map[string]string{"HOME": ""}, passwd},
		"relative HOME": {map[string]string{"HOME": "x"}, passwd},
	} {
		caller := config.Caller{Lookup: func(v string) (string, bool) { text, ok := tc.env[v]; return text, ok }, PasswdHome: passwd, UID: os.Geteuid(), Root: t.TempDir()}
		settings, err := config.Load(caller, config.NewFlags(pflag.NewFlagSet("t", pflag.ContinueOnError), config.Table()))
		if err != nil {
			t.Fatal(err)
		}
		ref, err := source.ParseRef("r.example.com/a:1")
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := settings.Resolve(ref)
		if err != nil {
			t.Fatal(err)
		}
		find, err := credential.New(cfg.CredentialOptions(caller, nil))
		if err != nil {
			t.Fatal(err)
		}
		cred, err := find(t.Context(), "r.example.com", ref)
		if want := filepath.Base(tc.want); err != nil || cred.Username != want || cfg.Store.Namespace != want {
			t.Errorf("%s: got namespace %q, user %q and %v, want %q", name, cfg.Store.Namespace, cred.Username, err, want)
		}
	}
	if !filepath.IsAbs(config.ThisProcess().PasswdHome) {
		t.Errorf("got home %q of this process, want a folder", config.ThisProcess().PasswdHome)
	}
}
