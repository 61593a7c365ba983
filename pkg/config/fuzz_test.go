package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// FuzzFile reads any text as a configuration. It either counts, and then every
// profile can be shown, or it is refused with the name of the file.
func FuzzFile(f *testing.F) {
	f.Add([]byte("namespace = 'x'\n[profiles.a]\nextends = 'b'\nmatch = ['*']\n[profiles.b]\nlabels = { a = '{{.Ref}}' }\n"), false)
	f.Add([]byte("[[mirrors]]\nhost = '*'\nendpoints = ['http://x']\nheaders = { A = 'b' }\n[[credentials]]\nsource = 'anonymous'\n"), false)
	f.Add([]byte("mirrors = [{host = 'a'}, {\nhots = 'b'}]\n[limits]\nmin_rate = '1kB/s'\n"), false)
	f.Add([]byte("profiles:\n  a:\n    hosts_dir: [x]\n    retry: {count: 3}\n"), true)
	f.Add([]byte("a: &a [*a]\n? [x]\n: y\n1: 2\n"), true)
	f.Add([]byte("a.b.c = 1\n[a]\nb = 2\n\"\\u0000\" = 3\n[[a.b]]\n"), false)
	dir := f.TempDir()
	caller := config.Caller{Lookup: func(name string) (string, bool) { return "", name == "NERDCTL_TOML" }, UID: os.Getuid(), Root: dir}
	f.Fuzz(func(t *testing.T, text []byte, yaml bool) {
		path := filepath.Join(dir, "config.toml")
		if yaml {
			path = filepath.Join(dir, "config.yaml")
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		fs := pflag.NewFlagSet("fuzz", pflag.ContinueOnError)
		flags := config.NewFlags(fs, config.Table())
		if err := fs.Parse([]string{"--config", path}); err != nil {
			t.Fatal(err)
		}
		settings, err := config.Load(caller, flags)
		if err != nil {
			if _, ok := errors.AsType[*file.Error](err); !ok || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want one about %s", err, path)
			}
			return
		}
		for _, p := range settings.Profiles() {
			if shown, err := settings.ShowProfile(p.Name); err == nil {
				for _, r := range shown {
					if r.From.File != path || r.From.Line == 0 {
						t.Errorf("origin of %s: got %v, want a line of %s", r.Setting.Name(), r.From, path)
					}
				}
			}
		}
		if cfg, err := settings.Resolve(source.Ref{Name: "a/b:c", Domain: "a", Path: "b", Tag: "c"}); err == nil {
			cfg.Resolved()
		}
	})
}
