package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// changes returns the places that Changes names, as LINE KEY: WRITE.
func (c call) changes(t *testing.T, profiles ...string) (list []string, root string) {
	t.Helper()
	settings, root, err := c.settings(t)
	if err != nil {
		t.Fatal(err)
	}
	found, err := settings.Changes(profiles)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range found {
		if one.Was == "" || one.Now == "" || one.Write == "" {
			t.Errorf("got %+v, want what was, is, and is to be written", one)
		}
		list = append(list, fmt.Sprintf("%s:%d %s: %s", strings.TrimPrefix(one.File, root), one.Line, one.Key, one.Write))
	}
	return list, root
}

// TestMigrate names patterns and credentials by their lines, in whatever form they
// stand in the file, and nothing that means what it meant.
func TestMigrate(t *testing.T) {
	const text = `# nothing changed
credentials = [
  { source = "password", username = "u", password_env = "P" },
  { source = "password", username = "u", password_env = "P", match = ["r.example.com"] },
  { source = "password", username = "u", password_env = "P", match = [
    "r.example.com",
    "*.corp.example",
  ] },
]
[profiles.same]
match = ["r.example.com/team/*", "r.example.com:5000", "localhost:*"]
[[profiles.same.credentials]]
source = "password"
username = "u"
password_env = "P"
match = ["r.example.com"]
[profiles.base]
match = ["Registry.example.com"]
[profiles.child]
extends = "base"
credentials = { source = "registry-token", token_env = "T" }
[profiles.homeless]
[[profiles.homeless.credentials]]
source = "helper"
helper = "x"
[[profiles.homeless.credentials]]
source = "identity-token"
token_env = "T"
`
	c := call{files: map[string]string{system: text}}
	all, _ := c.changes(t)
	want := []string{
		system + `:7 credentials[2].match[1]: "*.corp.example" for the port of HTTPS, "*.corp.example:*" for any port`,
		system + `:18 profiles.base.match[0]: "registry.example.com"`,
		system + `:21 profiles.child.credentials: match = ["registry.example.com"] in the credential, with the registries that it is for`,
		system + `:26 profiles.homeless.credentials[1]: match = ["registry.example.com"] in the credential, with the registries that it is for`,
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if some, _ := c.changes(t, "base", "same"); !cmp.Equal(some, want[1:2]) {
		t.Errorf("of two profiles: got %q", some)
	}
}

// TestMigrateFilesOfOthers names what root does not read any more.
func TestMigrateFilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	other := func(path string) error { return os.Chown(path, 4242, 4242) }
	open := func(path string) error { return os.Chmod(path, 0o666) }
	files := map[string]func(string) error{
		system:                               open,
		"/home/.docker/config.json":          other,
		"/home/.config/containers/auth.json": open,
		"/etc/containerd/certs.d/r.example.com/hosts.toml":    other,
		"/etc/docker/certs.d/d.example.com/ca.crt":            open,
		"/etc/docker/certs.d/fine.example.com/ca.crt":         func(string) error { return nil },
		"/home/.config/containerd-pull/config.d/10-more.toml": other,
	}
	c := call{files: map[string]string{}, spoil: files, env: map[string]string{"HOME": "$ROOT/home"}}
	for name := range files {
		c.files[name] = ""
	}
	all, root := c.changes(t)
	for name := range files {
		named := strings.Contains(strings.Join(all, "\n"), name+":0 :")
		if want := filepath.Base(filepath.Dir(name)) != "fine.example.com"; named != want {
			t.Errorf("%s: named %v, want %v in %q below %s", name, named, want, all, root)
		}
	}
}
