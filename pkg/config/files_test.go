package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

const (
	system  = "/etc/containerd-pull/config.toml"
	nerdctl = "/etc/nerdctl/nerdctl.toml"
)

// layered is a caller with something in every layer.
func layered(extra call) call {
	c := call{
		files: map[string]string{
			nerdctl: "namespace = 'web'\nsnapshotter = 'stargz'\ndata_root = '/x'\n",
			system: `
namespace = "files"
timeout = "1m"
[profiles.base]
namespace = "base"
unpack = "true"
labels = { "Example.com/Owner" = "base", "team" = "base" }
[profiles.prod]
extends = "base"
match = ["registry.example.com/prod/*"]
namespace = "prod"
labels = { "team" = "prod" }
`,
		},
		env: map[string]string{"HOME": "/none"},
	}
	for name, text := range extra.files {
		c.files[name] = text
	}
	for name, text := range extra.env {
		c.env[name] = text
	}
	c.args, c.ref = extra.args, extra.ref
	return c
}

func TestPrecedence(t *testing.T) {
	prod := "registry.example.com/prod/app:1"
	for _, tc := range []struct {
		name    string
		call    call
		setting string
		value   string
		origin  string
	}{
		{"file", call{}, "namespace", "files", "/etc/containerd-pull/config.toml:2"},
		{"nerdctl.toml", call{}, "snapshotter", "stargz", "/etc/nerdctl/nerdctl.toml:2"},
		{"nerdctl.toml elsewhere", call{files: map[string]string{"/n.toml": "snapshotter = 'x'"}, env: map[string]string{"NERDCTL_TOML": "$ROOT/n.toml"}}, "snapshotter", "x", "/n.toml:1"},
		{"no nerdctl.toml", call{env: map[string]string{"NERDCTL_TOML": ""}}, "snapshotter", "", "built-in"},
		{"environment over file", call{env: map[string]string{"CONTAINERD_NAMESPACE": "dev"}}, "namespace", "dev", "environment CONTAINERD_NAMESPACE"},
		{"profile by flag over environment", call{args: []string{"-p", "prod"}, env: map[string]string{"CONTAINERD_NAMESPACE": "dev"}}, "namespace", "prod", "profile prod (/etc/containerd-pull/config.toml:11)"},
		{"environment over profile by pattern", call{ref: prod, env: map[string]string{"CONTAINERD_NAMESPACE": "dev"}}, "namespace", "dev", "environment CONTAINERD_NAMESPACE"},
		{"environment over profile by environment", call{env: map[string]string{"CONTAINERD_PULL_PROFILE": "prod", "CONTAINERD_NAMESPACE": "dev"}}, "namespace", "dev", "environment CONTAINERD_NAMESPACE"},
		{"flag over profile by flag", call{args: []string{"-p", "prod", "-n", "x"}}, "namespace", "x", "flag --namespace"},
		{"profile by pattern", call{ref: prod}, "namespace", "prod", "profile prod (/etc/containerd-pull/config.toml:11)"},
		{"profile by environment", call{env: map[string]string{"CONTAINERD_PULL_PROFILE": "base"}}, "namespace", "base", "profile base (/etc/containerd-pull/config.toml:5)"},
		{"inherited", call{args: []string{"-p", "prod"}}, "unpack", "true", "profile base (/etc/containerd-pull/config.toml:6)"},
		{"tables merge and keep their case", call{args: []string{"-p", "prod", "--label", "x=y"}}, "labels", "Example.com/Owner=base,team=prod,x=y", "flag --label"},
		{"no pattern with an empty profile", call{args: []string{"-p", ""}, ref: prod}, "namespace", "files", "/etc/containerd-pull/config.toml:2"},
		{"the choice by pattern is seen", call{ref: prod}, "default_profile", "prod", "pattern registry.example.com/prod/*"},
		{"the choice by flag is seen", call{args: []string{"-p", "base"}, ref: prod}, "default_profile", "base", "flag --profile"},
		{"user's file over the system's", call{files: map[string]string{"/home/.config/containerd-pull/config.toml": "namespace = 'mine'"}, env: map[string]string{"HOME": "$ROOT/home"}}, "namespace", "mine", "/home/.config/containerd-pull/config.toml:1"},
		{"user's YAML", call{files: map[string]string{"/y.yaml": "# first\nnamespace: yaml\n"}, args: []string{"--config", "$ROOT/y.yaml"}}, "namespace", "yaml", "/y.yaml:2"},
		{"file by environment", call{files: map[string]string{"/c.toml": "namespace = 'c'"}, env: map[string]string{"CONTAINERD_PULL_CONFIG": "$ROOT/c.toml"}}, "namespace", "c", "/c.toml:1"},
		{"drop-in over its file", call{files: map[string]string{"/etc/containerd-pull/config.d/20.toml": "namespace = 'b'", "/etc/containerd-pull/config.d/10.toml": "namespace = 'a'"}}, "namespace", "b", "/etc/containerd-pull/config.d/20.toml:1"},
		{"drop-in for a profile", call{files: map[string]string{"/etc/containerd-pull/config.d/x.toml": "\n[profiles.prod]\nnamespace = 'dropped'"}, ref: prod}, "namespace", "dropped", "profile prod (/etc/containerd-pull/config.d/x.toml:3)"},
		{"default profile", call{files: map[string]string{"/etc/containerd-pull/config.d/x.toml": "default_profile = 'base'"}, ref: "alpine"}, "namespace", "base", "profile base (/etc/containerd-pull/config.toml:5)"},
		{"a pattern over the default profile", call{files: map[string]string{"/etc/containerd-pull/config.d/x.toml": "default_profile = 'base'"}, ref: prod}, "namespace", "prod", "profile prod (/etc/containerd-pull/config.toml:11)"},
		{"relative to the file", call{files: map[string]string{"/c/d.toml": "[tls]\nca = 'ca.pem'"}, args: []string{"--config", "$ROOT/c/d.toml"}}, "tls.ca", "/c/ca.pem", "/c/d.toml:2"},
		{"a child's root over its parent's address", call{files: map[string]string{"/c.toml": "[profiles.a]\naddress = '/s'\n[profiles.b]\nextends = 'a'\nroot = '/r'"}, args: []string{"--config", "$ROOT/c.toml", "-p", "b"}}, "address", "", "not used beside root"},
		{"label fields", call{files: map[string]string{"/c.toml": "[profiles.b]\nlabels = { a = '{{.Profile}} {{.Ref}} {{.Time}}' }"}, args: []string{"--config", "$ROOT/c.toml", "-p", "b"}, ref: "alpine"}, "labels", "a=b docker.io/library/alpine:latest 2001-09-09T01:46:40Z", "profile b (/c.toml:2)"},
		{"a time that does not change", call{args: []string{"--label", "t={{.Time}}"}, env: map[string]string{"SOURCE_DATE_EPOCH": "0"}}, "labels", "t=1970-01-01T00:00:00Z", "flag --label"},
		{"arrays of tables replace", call{files: map[string]string{"/etc/containerd-pull/config.d/1.toml": "[[mirrors]]\nhost = 'a'\nendpoints = ['m']\n[[mirrors]]\nhost = 'b'\nendpoints = ['m']", "/etc/containerd-pull/config.d/2.toml": "mirrors = { host = 'c', endpoints = ['m'] }"}}, "mirrors", "host=c endpoints=m", "/etc/containerd-pull/config.d/2.toml:1"},
		{"tables in a variable", call{env: map[string]string{"CONTAINERD_PULL_MIRRORS": `[{"host":"docker.io","endpoints":["http://m:5000"],"headers":{"X-Key":"canary"}}]`}}, "mirrors", "host=docker.io endpoints=http://m:5000 headers=X-Key:***", "environment CONTAINERD_PULL_MIRRORS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, root, err := layered(tc.call).load(t)
			if err != nil {
				t.Fatal(err)
			}
			value, origin := resolved(t, cfg, tc.setting)
			got := [2]string{strings.ReplaceAll(value, root, ""), strings.ReplaceAll(origin, root, "")}
			if diff := cmp.Diff([2]string{tc.value, tc.origin}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.setting, diff)
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	for _, tc := range []struct {
		name   string
		text   string
		want   string // after the folder
		remedy string
	}{
		{"syntax", "namespace = \n", "/etc/containerd-pull/config.toml:1: ", ""},
		{"unknown key", "a = 1", `/etc/containerd-pull/config.toml:1: unknown key "a"`, ""},
		{"misspelt key", "\nnamespase = 'x'", `/etc/containerd-pull/config.toml:2: unknown key "namespase"`, `did you mean "namespace"?`},
		{"key of an unused profile that may guard", "[profiles.p]\nmach = ['x']", `/etc/containerd-pull/config.toml:2: unknown key "profiles.p.mach"`, `did you mean "match"?`},
		{"misspelt key of a table", "[tls]\nskip_verfy = true", `:2: unknown key "tls.skip_verfy"`, `did you mean "skip_verify"?`},
		{"misspelt key of a table in a list", "[[mirrors]]\nhost='a'\n[[mirrors]]\nendpoint=['b']", `:4: unknown key "mirrors[1].endpoint"`, `did you mean "endpoints"?`},
		{"misspelt key of an inline table", "mirrors = [\n {host='a'},\n {hots='a'},\n]", `:3: unknown key "mirrors[1].hots"`, `did you mean "host"?`},
		{"upper case", "Namespace = 'x'", `unknown key "Namespace"`, `did you mean "namespace"?`},
		{"wrong type", "namespace = 3", ":1: namespace: got a number, want a text", ""},
		{"wrong type in a profile", "[profiles.p]\n\nplatforms = 'linux/amd64'", ":3: profiles.p.platforms: got a text, want a list of texts", ""},
		{"bad word", "unpack = 'maybe'", `unpack: got "maybe", want one of auto, true, false`, ""},
		{"bad duration", "timeout = 5", "timeout: got a number, want a text", ""},
		{"bad size", "limits = { min_rate = '5 apples' }", `limits.min_rate: got "5 apples", want a size`, ""},
		{"table that is none", "tls = 'x'", "tls: got a text, want a table", ""},
		{"profile that is none", "profiles = { p = 3 }", "profiles.p: got a number, want a table", ""},
		{"bad name of a profile", "[profiles.Prod]\n", `profiles.Prod: got the name "Prod"`, ""},
		{"extends in no profile", "extends = 'x'", `unknown key "extends"`, ""},
		{"bad extends", "[profiles.p]\nextends = ['a']", "profiles.p.extends: got a list, want a text", ""},
		{"bad match", "[profiles.p]\nmatch = 'a'", "profiles.p.match: got a text, want a list", ""},
		{"root and address", "[profiles.p]\nroot = '/a'\naddress = '/b'", "profiles.p: root and address exclude each other", "keep one of them"},
		{"reserved label", "[labels]\n'containerd.io/gc.root' = 'x'", "is reserved for containerd", ""},
		{"bad field in a label", "[labels]\na = '{{.Host}}'", "want no other field", ""},
		{"mirrors that are none", "mirrors = 3", "mirrors: got a number, want a list of tables", ""},
		{"mirror without endpoints", "[[mirrors]]\nhost = 'a'", "mirrors: [0]: endpoints is missing", ""},
		{"mirror without a host", "mirrors = { endpoints = ['a'] }", "mirrors: [0]: host is missing", ""},
		{"mirror of a repository", "mirrors = { host = 'docker.io/library', endpoints = ['a'] }", "mirrors: [0]: host \"docker.io/library\": want the name of a registry", ""},
		{"password in a mirror's URL", "mirrors = { host = '*', endpoints = ['a', 'https://me:canary@b'] }", "mirrors: [0]: endpoints[1]: user, query and fragment of a URL are not sent", ""},
		{"match with a tag", "[profiles.p]\nmatch = ['r.example.com/a', 'r.example.com/a:1']", ":2: profiles.p.match: pattern \"r.example.com/a:1\" fits nothing", ""},
		{"match with a scheme", "[profiles.p]\nmatch = ['https://r.example.com']", "fits nothing", ""},
		{"credential for nothing", "[[credentials]]\nsource = 'anonymous'\nmatch = ['']", "match: pattern \"\" fits nothing", ""},
		{"credential without a source", "\n[[credentials]]\nusername = 'a'", ":2: credentials: [0]: source is missing", ""},
		{"password without a user", "[profiles.p]\ncredentials = { source = 'password', password_env = 'A' }", ":2: profiles.p.credentials: [0]: the credential source \"password\" needs username", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, root, err := call{files: map[string]string{system: tc.text}}.settings(t)
			wrong, ok := errors.AsType[*file.Error](err)
			if !ok {
				t.Fatalf("got error %v, want one about the file", err)
			}
			if got := strings.ReplaceAll(wrong.Error(), root, ""); !strings.Contains(got, tc.want) || wrong.Remedy != tc.remedy {
				t.Errorf("got %q, remedy %q; want %q, remedy %q", got, wrong.Remedy, tc.want, tc.remedy)
			}
		})
	}
}

func TestBadProfiles(t *testing.T) {
	for _, tc := range []struct {
		name string
		text string
		call call
		want string
	}{
		{"unknown", "[profiles.prod]", call{args: []string{"-p", "prd"}}, `--profile: no such profile`},
		{"unknown default", "default_profile = 'x'", call{}, `unknown profile "x"`},
		{"unknown parent", "[profiles.a]\nextends = 'b'", call{args: []string{"-p", "a"}}, `profile "a" extends "b", which does not exist`},
		{"circle", "[profiles.a]\nextends='b'\n[profiles.b]\nextends='c'\n[profiles.c]\nextends='a'", call{args: []string{"-p", "a"}}, "a -> b -> c -> a"},
		{"equal claims", "[profiles.a]\nmatch=['docker.io/*']\n[profiles.b]\nmatch=['docker.io']", call{ref: "alpine"}, "profiles a and b have an equal claim to docker.io/library/alpine:latest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.call.files = map[string]string{system: tc.text}
			_, _, err := tc.call.load(t)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	text := `
[profiles.hub]
match = ["docker.io"]
[profiles.library]
match = ["docker.io/library/*"]
[profiles.alpine]
match = ["docker.io/library/alpine"]
[profiles.company]
match = ["*.example.com/*", "registry.example.org:5000/team?/*"]
[profiles.deep]
match = ["a.example.com/x/*/app"]
[profiles.alias]
match = ["index.docker.io/team/*", "registry-1.docker.io/crew/app"]
`
	for ref, want := range map[string]string{
		"bitnami/redis":                       "hub",
		"debian":                              "library",
		"alpine:3":                            "alpine",
		"alpine/git":                          "hub",
		"r.example.com/a/b:1":                 "company",
		"registry.example.org:5000/team1/app": "company",
		"registry.example.org:5000/team/app":  "",
		"quay.io/x/y":                         "",
		"team/app":                            "alias",
		"docker.io/crew/app":                  "alias",
		"a.example.com/x/app":                 "company",
		"a.example.com/x/1/2/app":             "deep",
		"a.example.com/x/1/application":       "company",
		"index.docker.io/library/alpine@sha256:" + strings.Repeat("0", 64): "alpine",
	} {
		cfg, _, err := call{files: map[string]string{system: text}, ref: ref}.load(t)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Profile != want {
			t.Errorf("profile of %s: got %q, want %q", ref, cfg.Profile, want)
		}
	}
}

func TestSecretsInOpenFiles(t *testing.T) {
	const secret = "[[credentials]]\nsource = 'password'\nusername = 'me'\npassword = 'canary'\n"
	for _, tc := range []struct {
		name   string
		text   string
		mode   os.FileMode
		remedy string // without the file; empty if all is well
	}{
		{"closed", secret, 0o600, ""},
		{"readable by the group", secret, 0o640, "chmod 600 "},
		{"readable by all", secret, 0o604, "chmod 600 "},
		{"in a profile", "[profiles.p]\ncredentials = { source = 'identity-token', identity_token = 'canary' }", 0o644, "chmod 600 "},
		{"a proxy's password", "proxy = 'http://me:canary@proxy.example.com:3128'", 0o644, "chmod 600 "},
		{"a proxy without a password", "proxy = 'http://me@proxy.example.com:3128'", 0o644, ""},
		{"headers", "[[mirrors]]\nhost = '*'\nendpoints = ['m']\nheaders = { X = 'canary' }", 0o644, "chmod 600 "},
		{"a file of the password is no secret", "[[credentials]]\nsource='password'\nusername='me'\npassword_file='p'", 0o644, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, root, err := call{files: map[string]string{system: tc.text}, modes: map[string]os.FileMode{system: tc.mode}, uid: os.Getuid()}.settings(t)
			remedy := ""
			if wrong, ok := errors.AsType[*file.Error](err); ok {
				remedy = strings.TrimSuffix(wrong.Remedy, root+system)
			} else if err != nil {
				t.Fatal(err)
			}
			if remedy != tc.remedy {
				t.Errorf("got remedy %q (%v), want %q", remedy, err, tc.remedy)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestNamedFileHasToExist(t *testing.T) {
	_, _, err := call{args: []string{"--config", "$ROOT/none.toml"}}.settings(t)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want one for a missing file", err)
	}
	_, _, err = call{args: []string{"--config", "$ROOT"}}.settings(t)
	if err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("got error %v, want one for a folder", err)
	}
}

// TestM6FilesOfOthers: as root, what others can write counts neither as a file that
// was found, nor as a drop-in, nor as nerdctl's; as a file that was named it is an
// error.
func TestM6FilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const (
		evil   = "namespace = 'evil'\n"
		user   = "/home/.config/containerd-pull/config.toml"
		dropIn = "/home/.config/containerd-pull/config.d/10.toml"
	)
	for name, tc := range map[string]struct {
		file  string
		spoil func(path string) error
		blame string // what the warning names, below the root; empty if the file counts
	}{
		"all is root's":            {system, func(string) error { return nil }, ""},
		"a file for all":           {system, func(p string) error { return os.Chmod(p, 0o666) }, system},
		"a file for the group":     {system, func(p string) error { return os.Chmod(p, 0o620) }, system},
		"another's file":           {system, func(p string) error { return os.Chown(p, 4242, 0) }, system},
		"another's folder":         {system, func(p string) error { return os.Chown(filepath.Dir(p), 4242, 0) }, filepath.Dir(system)},
		"another's home":           {user, func(p string) error { return os.Chown(filepath.Dir(filepath.Dir(p)), 4242, 0) }, filepath.Dir(filepath.Dir(user))},
		"nerdctl's, another's":     {nerdctl, func(p string) error { return os.Chown(p, 4242, 0) }, nerdctl},
		"drop-in in sticky":        {dropIn, func(p string) error { return unix.Chmod(filepath.Dir(p), 0o1777) }, ""},
		"drop-in of another":       {dropIn, func(p string) error { return os.Chown(p, 4242, 0) }, dropIn},
		"drop-in in a folder 0777": {dropIn, func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) }, filepath.Dir(dropIn)},
	} {
		t.Run(name, func(t *testing.T) {
			c := call{files: map[string]string{tc.file: evil}, env: map[string]string{"HOME": "$ROOT/home"}, spoil: map[string]func(string) error{tc.file: tc.spoil}}
			settings, root, err := c.settings(t)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := settings.Resolve(source.Ref{})
			if err != nil {
				t.Fatal(err)
			}
			warnings := settings.Warnings()
			if tc.blame == "" {
				if cfg.Store.Namespace != "evil" || len(warnings) > 0 {
					t.Errorf("got namespace %s and warnings %q, want the file to count", cfg.Store.Namespace, warnings)
				}
				return
			}
			if cfg.Store.Namespace != "default" || len(warnings) != 1 || !strings.Contains(warnings[0], root+tc.file+" is left out: ") || !strings.Contains(warnings[0], root+tc.blame) {
				t.Errorf("got namespace %s and warnings %q, want one that names %s and %s", cfg.Store.Namespace, warnings, tc.file, tc.blame)
			}
		})
	}
	for mode, want := range map[os.FileMode]bool{0o644: true, 0o600: true, 0o664: false, 0o646: false} {
		c := call{files: map[string]string{"/named.toml": evil}, args: []string{"--config", "$ROOT/named.toml"},
			spoil: map[string]func(string) error{"/named.toml": func(p string) error { return errors.Join(os.Chmod(p, mode), os.Chown(p, 4242, 4242)) }}}
		_, _, err := c.settings(t)
		if _, foreign := errors.AsType[*userfile.Foreign](err); foreign == want || (err == nil) != want {
			t.Errorf("another's file of mode %v, named: got %v, want it to count: %v", mode, err, want)
		}
	}
}
