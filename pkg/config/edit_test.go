package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// A removed profile takes its tables and its comments with it, and nothing else.
func TestRemoveProfile(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"alone", "[profiles.x]\nnamespace = 'a'\n", "\n"},
		{"first", "# of x\n[profiles.x]\na = 1\n\n# of y\n[profiles.y]\nb = 2 # b\n", "# of y\n[profiles.y]\nb = 2 # b\n"},
		{"last", "# top\ndebug = true\n\n# of y\n[profiles.y]\n\n# of x\n# twice\n[profiles.x]\n# within\na = 1\n#b = 2\n", "# top\ndebug = true\n\n# of y\n[profiles.y]\n"},
		{"in pieces", "[profiles.x]\na = 1\n[profiles.y]\nb = 1\n[[profiles.x.credentials]]\nsource = 's'\n[profiles.x.tls]\nca = 'c'\n# of z\n[profiles.z]\n", "[profiles.y]\nb = 1\n# of z\n[profiles.z]\n"},
		{"dotted keys", "profiles.x.a = 1\nprofiles.y.a = 2\n", "profiles.y.a = 2\n"},
		{"below a table of profiles", "[profiles]\nx = { a = 1 }\ny = { a = 2 }\n", "[profiles]\ny = { a = 2 }\n"},
		{"names that begin alike", "[profiles.xx]\na = 1\n[profiles.x]\na = 1\n", "[profiles.xx]\na = 1\n"},
		{"quoted", "[profiles.\"x\"]\na = 1\n[ profiles . 'y' ]\n", "[ profiles . 'y' ]\n"},
		{"strings over lines", "[profiles.y]\na = '''\n[profiles.x]\n# no comment\n'''\n[profiles.x]\nb = [\n  1,\n  2,\n]\n", "[profiles.y]\na = '''\n[profiles.x]\n# no comment\n'''\n"},
		{"a block of its own before the next", "[profiles.y]\nb = 1\n[profiles.x]\na = 1\n# below\n\n# Section of z\n# more\n\n[profiles.z]\n", "[profiles.y]\nb = 1\n\n# Section of z\n# more\n\n[profiles.z]\n"},
		{"a footer", "[profiles.y]\n\n[profiles.x]\na = 1\n\n# vim: ft=toml\n\n# two = 2\n", "[profiles.y]\n\n# vim: ft=toml\n\n# two = 2\n"},
		{"commented out", "[profiles.x]\na = 1\n\n# what b is\n#b = 2\n\n#[profiles.x.tls]\n\n# the CA\n#ca = 'c'\n\n#[[profiles.x.credentials]]\n# or else\n\n# footer\n", "# footer\n"},
		{"commented out of another", "[profiles.x]\na = 1\n\n#[profiles.y]\n\n# the CA\n#ca = 'c'\n\n#[profiles.xx.tls]\n", "#[profiles.y]\n\n# the CA\n#ca = 'c'\n\n#[profiles.xx.tls]\n"},
		{"a string that ends like a comment", "[profiles.x]\na = \"\"\"\n\n# secret\n\n# all\"\"\"\n\n# footer\n", "# footer\n"},
		{"an inline table", "profiles = { x = { a = 1 } }\n", ""},
		{"YAML", "profiles:\n  x:\n    a: 1\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.toml")
			if tc.name == "YAML" {
				path = strings.TrimSuffix(path, "toml") + "yaml"
			}
			if err := os.WriteFile(path, []byte(tc.text), 0o640); err != nil {
				t.Fatal(err)
			}
			err := config.RemoveProfile(path, "x")
			if tc.want == "" {
				if err == nil || !strings.Contains(err.Error(), "does not stand in tables of its own") {
					t.Errorf("got %v, want a refusal", err)
				}
				tc.want = tc.text
			} else if err != nil {
				t.Error(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
				t.Errorf("mode: got %v and %v", info.Mode(), err)
			}
		})
	}
}

// What init adds, rm removes: the file is as before, wherever the profile stands.
func TestRemoveWhatInitAdds(t *testing.T) {
	const own = "# mine\ndebug = true\n\n# of a\n[profiles.a]\nnamespace = 'x' # here\n"
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "c"} {
		if err := config.InitProfile(path, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"b", "c"} {
		if err := config.RemoveProfile(path, name); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(own, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzRemoveProfile(f *testing.F) {
	f.Add("[profiles.x]\na = 1\n# c\n[profiles.y]\nb = '''\n[profiles.x]\n'''\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if config.RemoveProfile(path, "x") != nil {
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("refused, and changed to %q", got)
			}
		}
	})
}
