package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

const schemaFile = "../../docs/config.schema.json"

//go:generate ../../.ci/named TestSchemaFile -update

func TestSchemaFile(t *testing.T) {
	got, err := json.MarshalIndent(config.JSONSchema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, schemaFile, append(got, '\n'))
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(config.JSONSchema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// accepts returns the error of the schema about a TOML text, nil if it takes it.
func accepts(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var tree map[string]any
	if err := toml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// TestSchemaAgreesWithTheProgram checks files with both the schema and the
// program: what one accepts, the other accepts.
func TestSchemaAgreesWithTheProgram(t *testing.T) {
	s := schema(t)
	for _, tc := range []struct {
		text string
		good bool
	}{
		{"", true},
		{"namespace = 'k8s.io'\nhosts_dir = ['/a', '/b']\ndefault_profile = 'base'\n[profiles.base]\nplatforms = ['linux/amd64']", true},
		{"[profiles.a]\nextends = 'b'\nmatch = ['docker.io/*']\n[profiles.b]\nlabels = { 'io.x/Y' = 'z' }", true},
		{"[[mirrors]]\nhost = '*'\nendpoints = ['https://m']\nresolve = true\ndial_timeout = '3s'\n[mirrors.headers]\nX = 'y'", true},
		{"mirrors = { host = 'docker.io', endpoints = ['m'] }", true},
		{"mirrors = { host = 'docker.io', endpoints = [] }", false},
		{"mirrors = { host = '', endpoints = ['m'] }", false},
		{"mirrors = { host = 'docker.io' }", false},
		{"credentials = { match = ['a'] }", false},
		{"[[credentials]]\nmatch = ['a']\nsource = 'anonymous'", true},
		{"[limits]\nmin_rate = '20kB/s'\nmanifest_bytes = 1000\nrequests_per_second = 0.5\ndownloads = 3", true},
		{"[retry]\ncount = 0\ndelay = '1m30s'", true},
		{"progress = 'json'\nquiet = false\nunpack = 'false'\nsync_fs = true", true},
		{"output_style = 'docker'\nchanged_exit_code = 90", true},
		{"output_style = 'skopeo'", false},
		{"changed_exit_code = -1", false},
		{"changed_exit_code = 256", false},
		{"nonsense = 1", false},
		{"[profiles.a]\nnonsense = 1", false},
		{"[profiles.'A b']\n", false},
		{"[profiles.a]\ndefault_profile = 'x'", false},
		{"extends = 'x'", false},
		{"namespace = 1", false},
		{"hosts_dir = '/a'", false},
		{"hosts_dir = [1]", false},
		{"progress = 'loud'", false},
		{"timeout = '5'", false},
		{"timeout = 5", false},
		{"quiet = 'true'", false},
		{"[limits]\ndownloads = -1", false},
		{"[limits]\ndownloads = 'x'", false},
		{"[limits]\nmin_rate = '5 apples'", false},
		{"[[mirrors]]\nhots = 'x'", false},
		{"[mirrors]\nheaders = { X = 1 }", false},
		{"[[credentials]]\nsource = 'thin air'", false},
		{"[labels]\na = 1", false},
		{"tls = 'x'", false},
	} {
		bySchema := accepts(t, s, tc.text)
		settings, _, byProgram := call{files: map[string]string{system: tc.text}, uid: os.Getuid()}.settings(t)
		if byProgram == nil && len(settings.Findings()) > 0 { // in a profile that this call does not use
			byProgram = settings.Findings()[0]
		}
		if (bySchema == nil) != tc.good || (byProgram == nil) != tc.good {
			t.Errorf("%q: got schema %v and program %v, want good %v", tc.text, bySchema, byProgram, tc.good)
		}
	}
}

// TestEveryKey writes a value for every key of the schema, reads it back, and
// looks for it and its origin among the settings; with -short, for some keys.
func TestEveryKey(t *testing.T) {
	s := schema(t)
	samples := map[string]string{
		"default_registry": "'registry.example.com/team'",
		"aliases":          "{ app = 'registry.example.com/team/app' }",
		"mirrors":          "[{ host = 'docker.io', endpoints = ['https://m'] }]",
		"credentials":      "[{ source = 'anonymous' }]",
		"labels":           "{ Key = 'value' }",
		"platforms":        "['linux/arm64']",
		"proxy":            "'http://p:1'",
		"verify.mode":      "'pinned'",
		"verify.digests":   "['alpine=sha256:" + strings.Repeat("0", 64) + "']",
		"unpack":           "'false'", "engine": "'client'", "policy": "'missing'", "progress": "'plain'", "output_style": "'docker'",
	}
	kinds := []string{"'other'", "true", "7", "['x']", "'7s'", "'7MiB'"}
	for i, setting := range config.Table() {
		if setting.Key == "" || setting.Key == "default_profile" || testing.Short() && i%5 != 0 {
			continue
		}
		tried := kinds
		if sample, ok := samples[setting.Key]; ok {
			tried = []string{sample}
		}
		found := false
		for _, sample := range tried {
			text := "[profiles.p]\n" + setting.Key + " = " + sample
			if strings.HasPrefix(setting.Key, "verify.") && setting.Key != "verify.mode" { // without effect otherwise
				text += "\nverify.mode = 'pinned'"
			}
			cfg, root, err := call{files: map[string]string{system: text}, args: []string{"-p", "p"}}.load(t)
			bySchema := accepts(t, s, text)
			wrong, isFile := errors.AsType[*file.Error](err)
			if isFile != (bySchema != nil) {
				t.Errorf("%s: got schema %v, program %v", text, bySchema, wrong)
			}
			if err != nil {
				continue // not of its type, or without effect alone
			}
			found = true
			value, origin := resolved(t, cfg, setting.Key)
			if want := "profile p (" + root + system + ":2)"; origin != want {
				t.Errorf("origin of %s: got %q, want %q", setting.Key, origin, want)
			}
			if value == "" || strings.HasPrefix(value, "not ") {
				t.Errorf("value of %s = %s: got nothing", setting.Key, sample)
			}
		}
		if !found && setting.Key != "tls.cert" && setting.Key != "tls.key" { // they need each other
			t.Errorf("%s takes none of %v", setting.Key, tried)
		}
	}
}
