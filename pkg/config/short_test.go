package config_test

import (
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const shortFile = `
[profiles.prod]
match = ["registry.example.com/*"]
default_registry = "registry.example.com:5000/team"
[profiles.prod.aliases]
agent = "registry.example.com/infra/node-agent"
"a/b" = "docker.io/library/debian"
[profiles.sub]
extends = "prod"
[profiles.sub.aliases]
other = "r.example.com/x"
[profiles.hub]
match = ["docker.io/*"]
default_registry = "mirror.example.com"
[profiles.foreign]
match = ["foreign.example.com/*"]
default_registry = "registry.example.com"
`

// TestShortNames: what is registered and asked for is the full name, and only the
// profile that is meant completes.
func TestShortNames(t *testing.T) {
	const dgst = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	config := func(text string) map[string]string {
		return map[string]string{"/etc/containerd-pull/config.toml": text + shortFile}
	}
	for _, tc := range []struct{ name, top, args, typed, want string }{
		{"Docker's", "", "", "app:1.2", "docker.io/library/app:1.2"},
		{"default registry", "", "-p=prod", "app:1.2", "registry.example.com:5000/team/app:1.2"},
		{"with a path", "", "-p=prod", "x/app", "registry.example.com:5000/team/x/app:latest"},
		{"with a digest", "", "-p=prod", "app" + dgst, "registry.example.com:5000/team/app" + dgst},
		{"with both", "", "-p=prod", "app:1" + dgst, "registry.example.com:5000/team/app:1" + dgst},
		{"alias", "", "-p=prod", "agent:2", "registry.example.com/infra/node-agent:2"},
		{"alias with a digest", "", "-p=prod", "agent" + dgst, "registry.example.com/infra/node-agent" + dgst},
		{"alias with a path", "", "-p=prod", "a/b", "docker.io/library/debian:latest"},
		{"aliases are no beginnings", "", "-p=prod", "agent/x", "registry.example.com:5000/team/agent/x:latest"},
		{"full names stay", "", "-p=prod", "docker.io/alpine", "docker.io/library/alpine:latest"},
		{"a port is a registry", "", "-p=prod", "r:5000/agent", "r:5000/agent:latest"},
		{"localhost is a registry", "", "-p=prod", "localhost/agent", "localhost/agent:latest"},
		{"what is extended", "", "-p=sub", "agent", "registry.example.com/infra/node-agent:latest"},
		{"tables merge", "", "-p=sub", "other", "r.example.com/x:latest"},
		{"not by a pattern", "", "", "alpine", "docker.io/library/alpine:latest"},
		{"default profile", "default_profile = 'prod'", "", "agent", "registry.example.com/infra/node-agent:latest"},
		{"no profile", "default_profile = 'prod'", "--profile=", "agent", "docker.io/library/agent:latest"},
		{"outside of profiles", "default_registry = 'registry.example.com'", "", "app", "registry.example.com/app:latest"},
		{"into another profile", "default_profile = 'foreign'", "", "app", "error: default_registry of profile foreign makes registry.example.com/app:latest of app, which profile prod is for: name the profile with --profile, or the image in full"},
		{"into another profile by name", "", "-p=foreign", "app", "registry.example.com/app:latest"},
		{"no such profile", "", "-p=none", "app", "error: --profile: no such profile"},
		{"no reference", "", "-p=prod", "App", "error: parsing reference \"App\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			settings, _, err := call{args: strings.Fields(tc.args), files: config(tc.top)}.settings(t)
			if err != nil {
				t.Fatal(err)
			}
			ref, err := settings.Ref(tc.typed)
			got := ref.String()
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != tc.want && !(err != nil && strings.HasPrefix(got, tc.want)) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if full, _ := source.ParseRef(got); err == nil && full != ref {
				t.Errorf("got %+v, want %+v", ref, full)
			}
		})
	}
}

func TestShortNamesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"default_registry = 'team'":                           "want a name that begins with its registry",
		"default_registry = 'https://r.example.com'":          "parsing reference",
		"default_registry = 'r.example.com/'":                 "parsing reference",
		"[aliases]\na = 'b'":                                  "alias \"a\": want a name that begins with its registry",
		"[aliases]\na = 'r.example.com/b:1'":                  "alias \"a\": want a name that begins with its registry and has no tag",
		"[aliases]\n'r.example.com/a' = 'r.example.com/b'":    "want a name without a registry and a tag",
		"[aliases]\n'a:1' = 'r.example.com/b'":                "want a name without a registry and a tag",
		"[aliases]\na = 1":                                    "a text",
		"[profiles.x.aliases]\nA = 'r.example.com/b'":         "parsing reference \"A\"",
		"[profiles.x]\ndefault_registry = 'r.example.com:1@'": "parsing reference",
	} {
		_, _, err := call{files: map[string]string{"/etc/containerd-pull/config.toml": text}}.settings(t)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "config.toml:") {
			t.Errorf("%q: got %v, want %q and its place", text, err, want)
		}
	}
}
