package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// call is one command line in one environment, with files below a folder that
// stands for the root of the file system. In args and env, $ROOT stands for that
// folder.
type call struct {
	args  []string
	env   map[string]string
	files map[string]string // by path, absolute from the root
	modes map[string]os.FileMode
	spoil map[string]func(path string) error // lets another user at a file
	uid   int                                // of the user; the files are those of the user who runs the tests
	ref   string
}

func (c call) caller(t *testing.T) config.Caller {
	t.Helper()
	root := t.TempDir()
	for name, text := range c.files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range c.modes {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range c.spoil {
		if err := spoil(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	lookup := func(name string) (string, bool) {
		text, ok := c.env[name]
		return os.Expand(text, func(v string) string {
			if v == "ROOT" {
				return root
			}
			return "$" + v
		}), ok
	}
	return config.Caller{Lookup: lookup, UID: c.uid, Root: root, NerdctlFile: filepath.Join(root, nerdctl), Now: time.Unix(1e9, 0)}
}

func (c call) flags(t *testing.T, caller config.Caller) (*config.Flags, error) {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags := config.NewFlags(fs, config.Table())
	args := make([]string, len(c.args))
	for i, arg := range c.args {
		args[i] = os.Expand(arg, func(string) string { return caller.Root })
	}
	return flags, fs.Parse(args)
}

func (c call) settings(t *testing.T) (*config.Settings, string, error) {
	t.Helper()
	caller := c.caller(t)
	flags, err := c.flags(t, caller)
	if err != nil {
		return nil, "", err
	}
	settings, err := config.Load(caller, flags)
	return settings, caller.Root, err
}

func (c call) load(t *testing.T) (*config.Config, string, error) {
	t.Helper()
	settings, root, err := c.settings(t)
	if err != nil {
		return nil, root, err
	}
	var ref source.Ref
	if c.ref != "" {
		if ref, err = source.ParseRef(c.ref); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := settings.Resolve(ref)
	return cfg, root, err
}

// resolved returns the value of a setting and its origin.
func resolved(t *testing.T, c *config.Config, name string) (value, origin string) {
	t.Helper()
	for _, r := range c.Resolved() {
		if r.Setting.Name() == name {
			return r.Value, r.From.String()
		}
	}
	t.Fatalf("no setting %q", name)
	return "", ""
}
