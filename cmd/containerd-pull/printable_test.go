package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// poison moves the cursor, rings, sets a title, by C0 and by C1 controls, turns the
// direction of writing, and is no UTF-8 at the end.
const poison = "p\x1b[2J\x07\x1b]0;t\u009b1A\u0085\u202e\u2066\u2028\ufeff\x7f\xffq"

// TestL2NothingForeignIsRaw puts poison into everything that others write, and what
// the environment, files and arguments hold, and wants nothing of it on the streams
// of any command.
func TestL2NothingForeignIsRaw(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(poisonous))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	toml, err := json.Marshal(strings.ToValidUTF8(poison, "")) // a string of TOML as well
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"bin/docker-credential-loud": "#!/bin/sh\nprintf '%s' '" + poison + "' >&2\nexit 1\n",
		"helper.toml":                fmt.Sprintf("[profiles.p]\nmatch = [%q]\ncredentials = { source = 'helper', helper = 'loud' }\n", host),
		"bad.toml":                   fmt.Sprintf("%s = 1\n[profiles.%s]\n%s = 2\nnamespace = 3\n", toml, toml, toml),
		"labels.toml":                fmt.Sprintf("namespace = %s\nlabels = { a = %s }\n[profiles.p]\nmatch = [%s]\nextends = %s\n", toml, toml, toml, toml),
		"broken.toml":                poison,
		"nerdctl.toml":               fmt.Sprintf("%s = 1\n", toml),
		"events.json":                poison + "\n",
		poison + "/x.toml":           "x = 1\n",
	} {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", at("bin")+":"+os.Getenv("PATH")) // programs are found by the process's
	root := []string{"--root", at("root"), "--retry", "0"}
	pull := func(more ...string) []string { return append(append(root[:len(root):len(root)], more...), host+"/a") }
	for _, args := range [][]string{
		{poison}, {"--" + poison}, {"help", poison}, {"profile", poison}, {"pull", poison + "/x"}, {"verify", poison},
		{"config", "show", "--namespace", poison}, {"config", "show", "--config", at("labels.toml")}, {"config", "show", "--config", at("labels.toml"), "--format", "json"},
		{"config", "show", "--config", at("bad.toml")}, {"config", "show", "--config", at("broken.toml")}, {"config", "show", "--config", at(poison + "/x.toml")},
		{"config", "show", "--config", at(poison + "/none.toml")},
		{"profile", "list", "--config", at("labels.toml")}, {"profile", "list", "--config", at("labels.toml"), "--format", "json"},
		{"profile", "show", "p", "--config", at("labels.toml")}, {"profile", "show", poison},
		{"profile", "check", "--config", at("bad.toml")}, {"profile", "check", "--config", at("bad.toml"), "--format", "json"},
		{"profile", "check", "--config", at("labels.toml")}, {"profile", "check", "--migrate", "--config", at("labels.toml")},
		{"profile", "check", "--online", "--config", at("helper.toml")}, {"profile", "init", poison}, {"profile", "init", "--config", at(poison + "/new.toml"), "p"},
		{"hosts", "check", "--config", at("helper.toml"), host + "/a"}, {"hosts", "write", at(poison), "-p", "p", "--config", at("helper.toml")},
		{"hosts", "check", "--hosts-dir", at(poison), host + "/a"},
		{"timeline", at("events.json")}, {"timeline", at(poison)}, {"shim", "install", at(poison)}, {"shim", "remove", at(poison)}, {"shim", "status"},
		{"gc", "--root", at(poison)}, {"completion", poison}, {"shell-init", poison},
		pull(), pull("--progress", "plain"), pull("--progress", "json"), pull("--http-dump"), pull("--debug-full"), pull("--format", "json"),
		pull("--config", at("helper.toml")), pull("--config", at("helper.toml"), "--progress", "json"), pull("--user", poison+":x"), pull("--tlscacert", at(poison)),
		pull("--timeline", at(poison)), pull("--digestfile", at(poison)), pull("--platform", poison), pull("--label", poison), pull("--proxy", poison), pull("--verify", poison),
	} {
		var out, errOut bytes.Buffer
		env := map[string]string{"HOME": dir, "PATH": at("bin") + ":" + at(poison), "CONTAINERD_PULL_SNAPSHOTTER": "native", "NERDCTL_TOML": at("nerdctl.toml")}
		caller := config.Caller{Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }, UID: os.Getuid(), Root: dir, Now: time.Now()}
		run(t.Context(), streams{in: strings.NewReader(poison), out: &out, err: &errOut}, caller, args)
		if out.Len()+errOut.Len() == 0 {
			t.Errorf("%q wrote nothing", args)
		}
		for name, text := range map[string]string{"stdout": out.String(), "stderr": errOut.String()} {
			if raw := firstRaw(text); raw != "" {
				t.Errorf("%q: got %q raw on %s: %q", args, raw, name, text)
			}
		}
	}
}

// firstRaw returns the first character that a terminal may obey, empty if there is
// none.
func firstRaw(text string) string {
	for i, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
			return text[i:min(i+8, len(text))]
		}
	}
	return ""
}

// poisonous answers with poison in its status, headers and body.
func poisonous(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Www-Authenticate", `Basic realm="`+poison+`"`)
	w.Header().Set("X-Poison", strings.Map(func(c rune) rune {
		if c < ' ' {
			return -1
		}
		return c
	}, poison))
	switch _, _, ok := r.BasicAuth(); {
	case ok:
		w.WriteHeader(http.StatusForbidden)
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.WriteHeader(http.StatusUnauthorized)
	}
	text, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": poison, "message": poison}}})
	_, _ = w.Write(append(text, poison...))
}
