package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// tab completes the last word of a command line, which may be empty, and returns
// the candidates without their descriptions.
func (h *house) tab(args ...string) ([]string, cobra.ShellCompDirective) {
	h.t.Helper()
	var out, stderr bytes.Buffer
	args = append([]string{cobra.ShellCompNoDescRequestCmd}, args...)
	if code := run(h.t.Context(), streams{in: strings.NewReader(""), out: &out, err: &stderr}, h.caller, args); code != 0 {
		h.t.Fatalf("completing %q: code %d: %s", args, code, &stderr)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	last := len(lines) - 1
	var directive cobra.ShellCompDirective
	if _, err := fmt.Sscanf(lines[last], ":%d", &directive); err != nil {
		h.t.Fatalf("completing %q: got %q, want a directive at the end", args, out.String())
	}
	if last == 0 {
		return nil, directive
	}
	return lines[:last:last], directive
}

// cataloger is a registry of one repository with tags, for one user or for all,
// that counts what it is asked.
type cataloger struct {
	*httptest.Server
	user  string // and password; empty if no user is needed
	asked atomic.Int32
	wait  time.Duration
}

func newCataloger(t *testing.T, user string) *cataloger {
	c := &cataloger{user: user}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *cataloger) host() string { return strings.TrimPrefix(c.URL, "http://") }

func (c *cataloger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); c.user != "" && user+":"+password != c.user {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	c.asked.Add(1)
	select {
	case <-time.After(c.wait):
	case <-r.Context().Done():
	}
	switch r.URL.Path {
	case "/v2/_catalog":
		fmt.Fprint(w, `{"repositories":["app","team/web"]}`)
	case "/v2/app/tags/list":
		fmt.Fprint(w, `{"tags":["1.9","1.10","latest","1.10-rc1","edge","v2","sha256-0a.sig","1.10-alpine","1.10.1"]}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (h *house) want(what string, want []string, got []string, directive, wantDirective cobra.ShellCompDirective) {
	h.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("%s: candidates (-want +got):\n%s", what, diff)
	}
	if directive != wantDirective {
		h.t.Errorf("%s: got directive %d, want %d", what, directive, wantDirective)
	}
}

const (
	noFiles = cobra.ShellCompDirectiveNoFileComp
	ordered = noFiles | cobra.ShellCompDirectiveKeepOrder
	goesOn  = ordered | cobra.ShellCompDirectiveNoSpace
)

// TestCompleteTags asks the registry once, as the user of the profile, and
// remembers the answer for a minute without remembering the secret.
func TestCompleteTags(t *testing.T) {
	h := newHouse(t)
	reg := newCataloger(t, "me:"+rightPassword)
	h.write("etc/containerd-pull/config.toml", fmt.Sprintf(`
[profiles.own]
root = "none"
[[profiles.own.credentials]]
match = [%[1]q]
source = "password"
username = "me"
password_env = "SECRET"
[profiles.wrong]
root = "none"
credentials = { match = [%[1]q], source = "password", username = "other", password_env = "SECRET" }
`, reg.host()), 0o600)
	repo := reg.host() + "/app"
	tags := []string{"latest", "v2", "1.10.1", "1.10", "1.10-rc1", "1.10-alpine", "1.9", "edge", "sha256-0a.sig"}
	var all []string
	for _, tag := range tags {
		all = append(all, repo+":"+tag)
	}

	got, d := h.tab("-p", "own", repo+":")
	h.want("tags", all, got, d, ordered)
	got, d = h.tab("-p", "own", repo+":1.10-")
	h.want("a beginning", []string{repo + ":1.10-rc1", repo + ":1.10-alpine"}, got, d, ordered)
	if n := reg.asked.Load(); n != 1 {
		t.Errorf("got %d requests, want 1: the answer is good for a minute", n)
	}
	got, d = h.tab("-p", "wrong", repo+":")
	h.want("another user", nil, got, d, ordered)
	got, d = h.tab("-u", "me:"+rightPassword, "--root", "none", repo+":v")
	h.want("-u", []string{repo + ":v2"}, got, d, ordered)
	got, d = h.tab("-u", "me", "--root", "none", repo+":v")
	h.want("-u without a password", nil, got, d, ordered)
	if n := reg.asked.Load(); n != 2 {
		t.Errorf("got %d requests, want 2: another user does not get this one's answer", n)
	}
	h.caller.Now = h.caller.Now.Add(2 * time.Minute)
	if h.tab("-p", "own", repo+":"); reg.asked.Load() != 3 {
		t.Errorf("got %d requests, want 3: an old answer does not count", reg.asked.Load())
	}
	h.mustRememberNoSecret()
	if _, err := os.Stat("none"); err == nil {
		t.Error("completing has made a root")
	}
}

// TestH1TabSendsNoPassword completes names that the author of a chart could have
// chosen: the registry that they lead to is asked anonymously.
func TestH1TabSendsNoPassword(t *testing.T) {
	h := newHouse(t)
	var sent atomic.Bool
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			sent.Store(true)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer evil.Close()
	host := strings.TrimPrefix(evil.URL, "http://")
	h.write("etc/containerd-pull/config.toml", `
[profiles.wide]
root = "none"
match = ["*.corp.example", "*.corp.example/*", "127.0.0.1*", "*/app"]
[[profiles.wide.credentials]]
match = ["*.corp.example", "127.0.0.1*", "*/app"]
source = "password"
username = "me"
password_env = "SECRET"
[profiles.prod]
root = "none"
match = ["r.corp.example"]
[[profiles.prod.credentials]]
source = "password"
username = "me"
password_env = "SECRET"
[profiles.bare]
root = "none"
credentials = { source = "password", username = "me", password_env = "SECRET" }
`, 0o600)
	for _, word := range []string{host + "/x.corp.example/app:", host + "/x.corp.example/", host + "/", host + "/app:", host + "/app:1"} {
		for _, profile := range [][]string{nil, {"-p", "wide"}, {"-p", "prod"}, {"-p", "bare"}} {
			if got, _ := h.tab(append(slices.Clone(profile), word)...); len(got) > 0 && strings.HasSuffix(word, ":") {
				t.Errorf("%v %s: got %v, want nothing", profile, word, got)
			}
		}
	}
	if h.tab("-p", "prod", host+"/app:1", "--platform", ""); sent.Load() {
		t.Error("a TAB has sent the password to a registry that a name leads to")
	}
}

// mustRememberNoSecret checks the names, contents and modes of the cache.
func (h *house) mustRememberNoSecret() {
	h.t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(h.root, "home/.cache"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mustHide(h.t, "name in the cache", path)
		info, err := e.Info()
		if err != nil || e.IsDir() {
			return err
		}
		n++
		text, err := os.ReadFile(path)
		mustHide(h.t, "cache", string(text))
		for _, secret := range []string{"me:", "other", base64.StdEncoding.EncodeToString([]byte("me"))} {
			if strings.Contains(string(text), secret) {
				h.t.Errorf("%s holds %q", path, secret)
			}
		}
		if info.Mode().Perm() != 0o600 {
			h.t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || n == 0 {
		h.t.Errorf("got %d files in the cache, %v", n, err)
	}
}

// TestCompleteInTime gives up a registry that does not answer, a helper that is
// slow, and a helper that asks on the terminal.
func TestCompleteInTime(t *testing.T) {
	long(t)
	h := newHouse(t)
	reg := newCataloger(t, "")
	reg.wait = time.Minute
	h.write("bin/docker-credential-slow", "#!/bin/sh\nexec sleep 60\n", 0o755)
	h.write("bin/docker-credential-asks", "#!/bin/sh\nread answer </dev/tty && echo asked >\""+h.root+"/asked\"\nexit 1\n", 0o755)
	t.Setenv("PATH", filepath.Join(h.root, "bin")+":"+os.Getenv("PATH"))
	h.write("etc/containerd-pull/config.toml", `
[profiles.slow]
credentials = { source = "helper", helper = "slow" }
[profiles.asks]
credentials = { source = "helper", helper = "asks" }
`, 0o600)
	for _, profile := range []string{"", "slow", "asks"} {
		start := time.Now()
		got, d := h.tab("--root", "none", "-p", profile, reg.host()+"/app:")
		h.want("profile "+profile, nil, got, d, ordered)
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("profile %q: took %s", profile, took)
		}
	}
	if _, err := os.Stat(filepath.Join(h.root, "asked")); err == nil {
		t.Error("a helper has asked on the terminal")
	}
}

func TestCompleteNames(t *testing.T) {
	h := newHouse(t)
	reg := newCataloger(t, "")
	h.write("etc/containerd-pull/config.toml", fmt.Sprintf(`
[profiles.team]
match = ["%[1]s/team/*", "docker.io/library/debian", "%[1]s"]
[profiles.other]
match = ["registry.example.com/lib/tool"]
`, reg.host()), 0o600)
	store := filepath.Join(h.root, "store")
	if code, shown := h.run("--root", store, "--unpack=false", h.world.host()+"/good:latest"); code != 0 {
		t.Fatal(shown)
	}
	before := h.snapshot(store)
	host := reg.host()

	got, d := h.tab("--root", store, "-p", "team", "")
	want := []string{h.world.host() + "/good:latest", host + "/team/", "debian:", host + "/", host + "/app:", host + "/team/web:"}
	h.want("an empty word", want, withoutCommands(got), d, goesOn)
	got, d = h.tab("--root", store, host+"/t")
	h.want("a repository", []string{host + "/team/", host + "/team/web:"}, got, d, goesOn)
	got, d = h.tab("--root", store, "-p", "team", "deb")
	h.want("a short name", []string{"debian:"}, got, d, goesOn)
	got, d = h.tab("--root", store, "-p", "team", "registry")
	h.want("a repository of another profile", nil, got, d, ordered)
	got, d = h.tab("--root", store, "registry")
	h.want("a repository of any profile", []string{"registry.example.com/lib/tool:"}, got, d, goesOn)
	got, d = h.tab("--root", store, "verify", "")
	h.want("verify", []string{h.world.host() + "/good:latest"}, got, d, ordered)
	got, d = h.tab("--root", store, "verify", h.world.host()+"/good:latest", "")
	h.want("verify again", nil, got, d, ordered)
	got, d = h.tab("--root", store, "-n", "other", "verify", "")
	h.want("another namespace", nil, got, d, ordered)
	got, _ = h.tab("--root", store, h.world.host()+"/good@")
	if len(got) != 1 || !strings.HasPrefix(got[0], h.world.host()+"/good@sha256:") {
		t.Errorf("digests: got %v, want one", got)
	}
	got, d = h.tab("--root", store, "--platform", "")
	h.want("common platforms", []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x", "windows/amd64"}, got, d, ordered)
	for _, image := range []string{"/good:latest", "/good2:latest"} { // in the store, and only at the registry
		got, d = h.tab("--root", store, h.world.host()+image, "--platform", "linux/amd64,")
		h.want("platforms of "+image, []string{"linux/amd64,linux/arm64"}, got, d, ordered)
	}
	got, d = h.tab("--root", store, "--namespace", "")
	h.want("namespaces", []string{"default"}, got, d, noFiles)
	got, d = h.tab("--root", "none", "--snapshotter", "")
	h.want("snapshotters", []string{"overlayfs", "native", "erofs"}, got, d, ordered)
	if diff := cmp.Diff(before, h.snapshot(store)); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
}

// withoutCommands returns the candidates that are references.
func withoutCommands(all []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return !strings.ContainsAny(s, ":/") })
}

// snapshot describes every file below a folder.
func (h *house) snapshot(dir string) []string {
	h.t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func TestCompleteFlags(t *testing.T) {
	h := newHouse(t)
	h.write("etc/containerd-pull/config.toml", "[profiles.prod]\nmatch = [\"a.example/*\"]\n[profiles.test]\n", 0o600)
	for _, tc := range []struct {
		line string // its last word is completed
		want []string
		d    cobra.ShellCompDirective
	}{
		{"-p ", []string{"prod", "test"}, noFiles},
		{"--profile=", []string{"prod", "test"}, noFiles},
		{"profile show ", []string{"prod", "test"}, noFiles},
		{"profile show prod ", nil, noFiles},
		{"profile check prod ", []string{"test"}, noFiles},
		{"profile init ", nil, noFiles},
		{"--policy n", []string{"newer", "never"}, ordered},
		{"--engine ", []string{"auto", "client", "daemon", "transfer"}, ordered},
		{"--unpack ", []string{"auto", "true", "false"}, ordered},
		{"--verify ", []string{"none", "pinned", "bindir"}, ordered},
		{"verify --progress ", []string{"auto", "tty", "plain", "json", "none"}, ordered},
		{"gc --format ", []string{"json"}, ordered},
		{"watch --format ", []string{"json"}, ordered},
		{"watch --interval ", nil, noFiles},
		{"watch ", nil, noFiles},
		{"--config ", nil, cobra.ShellCompDirectiveDefault},
		{"--tlscacert ", nil, cobra.ShellCompDirectiveDefault},
		{"--authfile ", nil, cobra.ShellCompDirectiveDefault},
		{"--root ", nil, cobra.ShellCompDirectiveFilterDirs},
		{"--hosts-dir ", nil, cobra.ShellCompDirectiveFilterDirs},
		{"hosts write ", nil, cobra.ShellCompDirectiveFilterDirs},
		{"shim install ", nil, cobra.ShellCompDirectiveFilterDirs},
		{"--label ", nil, noFiles},
		{"--user ", nil, noFiles},
		{"--timeout ", nil, noFiles},
		{"version ", nil, noFiles},
		{"gc ", nil, noFiles},
		{"completion ", []string{"bash", "zsh", "fish", "powershell"}, ordered},
		{"shell-init f", []string{"fish"}, ordered},
		{"shim ", []string{"install", "remove", "status"}, noFiles},
		{"help ex", []string{"exit-codes"}, noFiles},
		{"help profile ch", []string{"check"}, noFiles},
		{"--hos", []string{"--host", "--hosts-dir"}, noFiles},
		{"-a /x --hos", []string{"--hosts-dir"}, noFiles},
		{"--label a=b --la", []string{"--label"}, noFiles},
		{"--quiet --qui", nil, noFiles},
	} {
		got, d := h.tab(strings.Split(tc.line, " ")...)
		if strings.HasPrefix(tc.line, "--hos") || strings.Contains(tc.line, "--la") || strings.Contains(tc.line, "--hos") {
			got = slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, "=") })
		}
		h.want(tc.line, tc.want, got, d, tc.d)
	}
}

// TestCompleteWithFaults offers nothing where a pull would fail.
func TestCompleteWithFaults(t *testing.T) {
	h := newHouse(t)
	h.write("etc/containerd-pull/config.toml", "nonsense = 1\n", 0o600)
	got, d := h.tab("-p", "")
	h.want("a file with a mistake", nil, got, d, noFiles)
	h.write("etc/containerd-pull/config.toml", "", 0o600)
	got, d = h.tab("-a", filepath.Join(h.root, "none.sock"), "--namespace", "")
	h.want("no daemon", nil, got, d, noFiles)
	got, d = h.tab("-a", h.world.deaf.Addr().String(), "--snapshotter", "")
	h.want("a daemon that does not answer", nil, got, d, noFiles)
	got, d = h.tab("--root", "none", "a b:")
	h.want("no reference", nil, got, d, ordered)
}

// BenchmarkComplete measures one completion that needs no network, without the
// start of the process.
func BenchmarkComplete(b *testing.B) {
	caller := config.Caller{Lookup: func(string) (string, bool) { return "", false }, Root: b.TempDir(), Now: time.Now()}
	for b.Loop() {
		var out, stderr bytes.Buffer
		run(b.Context(), streams{in: strings.NewReader(""), out: &out, err: &stderr}, caller, []string{cobra.ShellCompRequestCmd, "--policy", ""})
		if !strings.Contains(out.String(), "newer") {
			b.Fatal(out.String())
		}
	}
}
