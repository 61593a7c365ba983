package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// Every secret of these tests contains the word canary, so that one search finds
// them all. The program sends them only to guarded.
const (
	canary        = "canary"
	rightPassword = "canary-password"
	rightIdentity = "canary-identity"
	rightBearer   = "canary-bearer"
	accessToken   = rightPassword + "-canary" // masking the password in it does not suffice
)

// guarded puts a token server and three repositories in front of a registry:
// "token" requires a bearer token, "echo" answers with what it was sent, "signed"
// redirects to a URL that is a secret itself.
func (w *world) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case r.URL.Path == "/token":
			giveToken(rw, r)
		case repository == "signed" && !r.URL.Query().Has("sig"):
			http.Redirect(rw, r, r.URL.Path+"?sig=canary-signature", http.StatusTemporaryRedirect)
		case repository != "" && repository != "token" && repository != "echo":
			next.ServeHTTP(rw, r)
		case bearer != accessToken && bearer != rightBearer:
			rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="canary-service"`, w.registry.URL))
			rw.WriteHeader(http.StatusUnauthorized)
		case repository == "echo":
			rw.Header().Set("X-Echo", bearer)
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(rw, `{"errors":[{"code":"DENIED","message":"%s %s may not"}]}`, bearer, r.Header.Get("X-Key"))
		case repository == "":
		default:
			next.ServeHTTP(rw, r)
		}
	})
}

// giveToken speaks both protocols of token servers, and answers with more than
// it has to.
func giveToken(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user+password != "me"+rightPassword && r.FormValue("refresh_token") != rightIdentity {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"details":"%s %s is wrong"}`, password, r.FormValue("refresh_token"))
		return
	}
	fmt.Fprintf(w, `{"access_token":%q,"refresh_token":"canary-refresh"}`, accessToken)
}

// secretSources are profiles with secrets in every place that may hold one.
func secretSources(mirror string) string {
	return `
[profiles.literal.credentials]
match = ["127.0.0.1:*"]
source = "password"
username = "me"
password = "canary-password"
[profiles.file.credentials]
match = ["127.0.0.1:*"]
source = "password"
username = "me"
password_file = "secret"
[profiles.variable.credentials]
match = ["127.0.0.1:*"]
source = "password"
username = "me"
password_env = "SECRET"
[profiles.command.credentials]
match = ["127.0.0.1:*"]
source = "password"
username = "me"
password_command = ["print-secret"]
[profiles.helper.credentials]
source = "helper"
helper = "spy"
[profiles.provider.credentials]
source = "credential-provider"
config = "providers.yaml"
bin_dir = "plugins"
[profiles.identity.credentials]
match = ["127.0.0.1:*"]
source = "identity-token"
identity_token = "canary-identity"
[profiles.bearer.credentials]
match = ["127.0.0.1:*"]
source = "registry-token"
registry_token = "canary-bearer"
[profiles.docker]
authfile = "auth.json"
[profiles.mirror.retry]
count = 0
[[profiles.mirror.mirrors]]
host = "127.0.0.1:1"
endpoints = ["` + mirror + `"]
resolve = true
headers = { "X-Key" = "canary-header", Authorization = "Bearer canary-bearer" }
[profiles.wrong]
credentials = { match = ["127.0.0.1:*"], source = "password", username = "me", password = "canary-wrong" }
[profiles.proxied]
proxy = "http://me:canary-proxy@127.0.0.1:1"
credentials = { match = ["127.0.0.1:*"], source = "password", username = "me", password = "canary-password" }
[profiles.proxied.retry]
count = 0
`
}

// spy is a script that records how it was called and runs the rest.
func spy(rest string) string {
	return "#!/bin/sh\ntr '\\0' ' ' </proc/$$/cmdline >>\"$ARGV_LOG\"\necho >>\"$ARGV_LOG\"\n" + rest + "\n"
}

// house is a folder with configuration and helpers, and a caller who uses them.
type house struct {
	t      *testing.T
	root   string
	world  *world
	caller config.Caller
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, root: t.TempDir(), world: newWorld(t)}
	env := map[string]string{"SECRET": rightPassword, "NERDCTL_TOML": "", "HOME": filepath.Join(h.root, "home")}
	h.caller = config.Caller{
		Lookup: func(name string) (string, bool) { text, ok := env[name]; return text, ok },
		Root:   h.root, Now: time.Now(), UID: os.Geteuid(),
	}
	return h
}

func (h *house) write(name, text string, mode fs.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	syscall.ForkLock.RLock() // a child that holds the file open would make it unexecutable
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
}

// run runs the command and returns its exit code and everything that it shows.
func (h *house) run(args ...string) (code int, shown string) {
	h.t.Helper()
	var out, err bytes.Buffer
	code = run(h.t.Context(), streams{in: strings.NewReader(""), out: &out, err: &err}, h.caller, args)
	return code, out.String() + err.String()
}

// mustHide fails if a text contains a secret, plain or in base64.
func mustHide(t *testing.T, what, text string) {
	t.Helper()
	needles := []string{canary}
	for _, password := range []string{rightPassword, "canary-wrong", "canary-proxy"} {
		needles = append(needles, base64.StdEncoding.EncodeToString([]byte("me:"+password)))
	}
	for _, needle := range needles {
		if i := strings.Index(text, needle); i >= 0 {
			t.Errorf("%s: got %q in …%q…, want no secret", what, needle, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

func (h *house) furnish() {
	const etc = "etc/containerd-pull/"
	h.write(etc+"config.toml", secretSources(h.world.registry.URL), 0o600)
	h.write(etc+"secret", rightPassword+"\n", 0o600)
	h.write(etc+"auth.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, h.world.host(), base64.StdEncoding.EncodeToString([]byte("me:"+rightPassword))), 0o600)
	h.write(etc+"providers.yaml", `{kind: CredentialProviderConfig, apiVersion: kubelet.config.k8s.io/v1,
providers: [{name: spy, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ["127.0.0.1:*", "`+h.world.host()+`"], defaultCacheDuration: 1h}]}`, 0o644)
	h.write(etc+"plugins/spy", spy(`cat >/dev/null; echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","auth":{"`+h.world.host()+`":{"username":"me","password":"canary-password"}}}'`), 0o755)
	h.write("bin/docker-credential-spy", spy(`cat >/dev/null; echo '{"Username":"me","Secret":"canary-password"}'; echo noise >&2`), 0o755)
	h.write("bin/print-secret", spy("echo canary-password"), 0o755)
	h.t.Setenv("PATH", filepath.Join(h.root, "bin")+":"+os.Getenv("PATH"))
	h.t.Setenv("ARGV_LOG", filepath.Join(h.root, "argv"))
}

// TestSecretsAreShownNowhere uses a secret of each kind in each command that
// takes it, and searches everything that can be seen afterwards.
func TestSecretsAreShownNowhere(t *testing.T) {
	long(t)
	if !withMounts(t) { // what verifies a root would become another process
		return
	}
	h := newHouse(t)
	h.furnish()
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, h.world.registry.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	defer gate.Close()
	for _, tc := range []struct {
		profile    string
		pull, echo int // exit codes
	}{
		{"literal", 0, 5}, {"file", 0, 5}, {"variable", 0, 5}, {"command", 0, 5}, {"helper", 0, 5}, {"provider", 0, 5},
		{"identity", 0, 5}, {"bearer", 0, 5}, {"docker", 0, 5}, {"mirror", 0, 7}, {"wrong", 5, 5}, {"proxied", 7, 7},
	} {
		t.Run(tc.profile, func(t *testing.T) {
			h.t = t
			host := h.world.host()
			if tc.profile == "mirror" {
				host = "127.0.0.1:1" // no server listens there
			}
			h.pull(tc.profile, host+"/token", tc.pull)
			h.pull(tc.profile, host+"/echo", tc.echo)
			if tc.profile != "proxied" {
				h.pull(tc.profile, host+"/signed", 0)
			}
			if tc.profile != "proxied" && tc.profile != "mirror" {
				want := tc.pull
				if tc.profile == "helper" { // it is for the own host alone, which the gateway is
					want = 5
				}
				h.pull(tc.profile, gate.Listener.Addr().String()+"/token", want)
			}
			h.show(tc.profile, host+"/token")
			if tc.pull == 0 {
				h.mend(tc.profile)
			}
		})
	}
	h.t = t
	h.logIn()
	h.searchFiles()
}

// logIn keeps a right password, and tries a wrong one, in a file and with helpers.
// Only the file without a helper has the password, encoded.
func (h *house) logIn() {
	h.t.Helper()
	const file = "home/.docker/config.json"
	h.write("bin/docker-credential-mute", spy("cat >/dev/null"), 0o755)
	h.write("bin/docker-credential-rude", spy(`cat >&2; exit 1`), 0o755)
	for _, tc := range []struct {
		helper, password string
		want             int
	}{{"", rightPassword, 0}, {"", "canary-wrong", 5}, {"mute", rightPassword, 0}, {"rude", rightPassword, 5}} {
		h.write(file, fmt.Sprintf(`{"credsStore":%q}`, tc.helper), 0o600)
		for _, args := range [][]string{
			{"login", "-u", "me", "--password-stdin", h.world.host()},
			{"login", "--format", "json", "-u", "me:" + tc.password, h.world.host()},
			{"login", "-u", "me", "-p", tc.password, h.world.host()},
			{"logout", h.world.host()},
		} {
			var out bytes.Buffer
			code := run(h.t.Context(), streams{in: strings.NewReader(tc.password + "\n"), out: &out, err: &out}, h.caller, args)
			want := tc.want
			if len(args) > 3 && args[3] == "-p" {
				want = 2
			}
			if args[0] == "login" && code != want || out.Len() == 0 {
				h.t.Errorf("%v with helper %q: got exit code %d and %s, want %d", args[0], tc.helper, code, &out, want)
			}
			mustHide(h.t, strings.Join(args[:1], " ")+" with helper "+tc.helper, out.String())
			if kept, err := os.ReadFile(filepath.Join(h.root, file)); err != nil || tc.helper != "" {
				mustHide(h.t, file, string(kept))
			}
		}
	}
}

// pull pulls with all debugging output.
func (h *house) pull(profile, ref string, want int) {
	h.t.Helper()
	for _, style := range []string{"plain", "json"} {
		args := []string{
			"-p", profile, "--root", filepath.Join(h.root, "store", profile+style), "--unpack=false", "--progress", style,
			"--label", "example.com/profile={{.Profile}}", "--debug", "--debug-full", "--http-dump", "--http-trace", ref,
		}
		code, shown := h.run(args...)
		if code != want {
			h.t.Errorf("%s of %s: got exit code %d, want %d: %s", style, ref, code, want, shown)
		}
		if !strings.Contains(shown, "> GET ") || !strings.Contains(shown, "connecting to ") {
			h.t.Errorf("%s of %s shows no requests: %s", style, ref, shown)
		}
		mustHide(h.t, "pull with --progress "+style, shown)
	}
}

// mend damages a blob of a pulled image, repairs it and runs the garbage
// collection.
func (h *house) mend(profile string) {
	h.t.Helper()
	root := filepath.Join(h.root, "store", profile+"plain")
	blobs, err := filepath.Glob(filepath.Join(root, blobFolder, "*"))
	if err != nil || len(blobs) == 0 {
		h.t.Fatalf("got blobs %v, %v; want some", blobs, err)
	}
	if err := errors.Join(os.Chmod(blobs[0], 0o600), os.Truncate(blobs[0], 0)); err != nil {
		h.t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--repair", "--debug", "--http-dump", "--http-trace", "--progress", "json"},
		{"gc", "--debug"},
	} {
		args = append(args, "-p", profile, "--root", root)
		code, shown := h.run(args...)
		if code != 0 || args[0] == "verify" && !strings.Contains(shown, "> GET ") {
			h.t.Errorf("%v: got exit code %d, want 0 and the requests: %s", args, code, shown)
		}
		mustHide(h.t, strings.Join(args, " "), shown)
	}
}

// show runs the commands that look at a profile.
func (h *house) show(profile, ref string) {
	h.t.Helper()
	for _, args := range [][]string{
		{"config", "show", "-p", profile},
		{"config", "show", "-p", profile, "--format", "json"},
		{"profile", "list"},
		{"profile", "show", profile},
		{"profile", "show", profile, "--format", "json"},
		{"profile", "check", profile},
		{"profile", "check", "--online", profile},
		{"hosts", "check", "-p", profile, ref},
		{"hosts", "check", "-p", profile, "--format", "json", ref},
		{"hosts", "write", "-p", profile, "--dry-run", filepath.Join(h.root, "certs.d")},
	} {
		code, shown := h.run(args...)
		if hostless := args[1] == "write" && profile != "mirror"; shown == "" || (code == 2) != hostless {
			h.t.Errorf("%v: got exit code %d and %q, want something to look at", args, code, shown)
		}
		mustHide(h.t, strings.Join(args, " "), shown)
	}
}

// searchFiles searches the stores, whose databases hold labels and leases, and
// the records of the helpers.
func (h *house) searchFiles() {
	h.t.Helper()
	argv, err := os.ReadFile(filepath.Join(h.root, "argv"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, program := range []string{"docker-credential-spy get", "print-secret", "plugins/spy", "docker-credential-mute store", "docker-credential-rude store"} {
		if !strings.Contains(string(argv), program) {
			h.t.Errorf("command lines: got %s, want one of %s", argv, program)
		}
	}
	mustHide(h.t, "command lines of helpers", string(argv))
	files := 0
	err = filepath.WalkDir(filepath.Join(h.root, "store"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		mustHide(h.t, path, path+string(data))
		return err
	})
	if err != nil || files < 10 {
		h.t.Errorf("files in the stores: got %d, %v; want some", files, err)
	}
}

// address is a call with secrets in addresses, and its exit code.
type address struct {
	what string
	env  map[string]string
	code int
	args []string
}

// TestSecretsInAddresses has secrets in user infos and queries of addresses: those of
// proxies, mirrors, token servers and targets of redirects, and in references. All of
// them fail, and no message, dump, picture or trace shows a secret.
func TestSecretsInAddresses(t *testing.T) {
	long(t)
	h := newHouse(t)
	h.write("mirror.toml", "[[mirrors]]\nhost = '127.0.0.1:1'\nendpoints = ['http://me:canary-mirror@127.0.0.1:2']\n", 0o600)
	h.write("proxy.toml", "proxy = 'http://me:canary#proxy@proxy.example.com:3128'\n", 0o600)
	h.write("etc/containerd-pull/auth.json", fmt.Sprintf(`{"auths":{"https://me:canary-key@%s/v1/":{"auth":%q}}}`, h.world.host(), base64.StdEncoding.EncodeToString([]byte("me:"+rightPassword))), 0o600)
	h.write("certs.d/127.0.0.1:1/hosts.toml", "server = 'http://me:canary-server@127.0.0.1:2'\n[host.'http://me:canary-host@127.0.0.1:3?key=canary-key']\n", 0o600)
	for i, tc := range addresses(t, h) {
		h.t = t
		lookup := h.caller.Lookup
		h.caller.Lookup = func(name string) (string, bool) {
			if text, ok := tc.env[name]; ok {
				return text, true
			}
			return lookup(name)
		}
		timeline, trace := filepath.Join(h.root, fmt.Sprint(i, ".html")), filepath.Join(h.root, fmt.Sprint(i, ".trace"))
		for _, args := range [][]string{
			append([]string{
				"--root", filepath.Join(h.root, "root"), "--unpack=false", "--progress", "json", "--retry", "0", "--timeline", timeline, "--trace", trace,
				"--debug", "--debug-full", "--http-dump", "--http-trace",
			}, tc.args...),
			append([]string{"hosts", "check"}, tc.args...),
			append([]string{"hosts", "check", "--format", "json"}, tc.args...),
			append([]string{"config", "show"}, tc.args[:len(tc.args)-1]...),
			append([]string{"plan"}, tc.args...),
		} {
			code, shown := h.run(args...)
			if strings.HasPrefix(args[0], "--root") && code != tc.code {
				t.Errorf("%s: got exit code %d, want %d: %s", tc.what, code, tc.code, shown)
			}
			mustHide(t, fmt.Sprintf("%s, %s", tc.what, args[0]), shown)
		}
		for _, path := range []string{timeline, trace} {
			text, err := os.ReadFile(path)
			if err != nil && tc.code != 2 {
				t.Errorf("%s: %v", tc.what, err)
			}
			mustHide(t, tc.what+", "+filepath.Ext(path), string(text))
		}
		h.caller.Lookup = lookup
	}
}

// addresses lists the calls. The reference comes last in each.
func addresses(t *testing.T, h *house) []address {
	t.Helper()
	const far = "registry.example.com/team/app:1"
	refusing := refusingProxy(t, "407 Proxy Authentication Required")
	proxy := func(name, value string) map[string]string { return map[string]string{name: value} }
	host := h.world.host()
	dead := vacant(t)
	leads := func(target string) string {
		return served(t, nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target+"?sig=canary-signature", http.StatusTemporaryRedirect)
		})
	}
	names := func(realm string, status int) string {
		var own string
		own = served(t, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				w.WriteHeader(status)
				io.WriteString(w, `{"details":"not known"}`)
				return
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="s"`, strings.ReplaceAll(realm, "SELF", own)))
			w.WriteHeader(http.StatusUnauthorized)
		})
		return own
	}
	hosts := filepath.Join(h.root, "certs.d")
	return []address{
		{"HTTPS_PROXY that refuses", proxy("HTTPS_PROXY", "http://me:canary-proxy@"+refusing), 7, []string{far}},
		{"HTTP_PROXY that refuses", proxy("HTTP_PROXY", "http://me:canary-proxy@"+refusing), 7, []string{"--plain-http", far}},
		{"HTTPS_PROXY that is dead", proxy("HTTPS_PROXY", "http://me:canary-proxy@"+dead), 7, []string{far}},
		{"HTTPS_PROXY with #", proxy("HTTPS_PROXY", "http://me:canary#proxy@proxy.example.com:3128"), 2, []string{far}},
		{"https_proxy with %", proxy("https_proxy", "http://me:canary%zz@proxy.example.com:3128"), 2, []string{far}},
		{"HTTPS_PROXY without a scheme", proxy("HTTPS_PROXY", "me:canary/proxy@proxy.example.com:3128"), 2, []string{far}},
		{"proxy of a profile", nil, 2, []string{"--config", filepath.Join(h.root, "proxy.toml"), far}},
		{"mirror with a password", nil, 2, []string{"--config", filepath.Join(h.root, "mirror.toml"), "127.0.0.1:1/team/app:1"}},
		{"hosts.toml with passwords", nil, 7, []string{"--hosts-dir", hosts, "127.0.0.1:1/team/app:1"}},
		{"redirect to a dead server", nil, 7, []string{leads("http://me:canary-user@"+dead+"/blob") + "/team/app:1"}},
		{"redirect that is refused", nil, 5, []string{leads("http://me:canary-user@"+host+"/v2/forbidden/manifests/1") + "/team/app:1"}},
		{"redirect to no scheme that is spoken", nil, 9, []string{leads("ftp://me:canary-user@"+host+"/x") + "/team/app:1"}},
		{"redirect to no URL", nil, 9, []string{leads("http://me:canary-user@%zz/canary") + "/team/app:1"}},
		{"realm that is dead", nil, 7, []string{names("http://me:canary-user@"+dead+"/token?key=canary-key", 0) + "/team/app:1"}},
		{"realm that refuses", nil, 5, []string{names("http://me:canary-user@SELF/token?key=canary-key", 403) + "/team/app:1"}},
		{"realm that gives nothing", nil, 5, []string{names("http://me:canary-user@SELF/token?key=canary-key", 200) + "/team/app:1"}},
		{"realm that is no URL", nil, 5, []string{names("http://me:canary-user@%zz/token", 200) + "/team/app:1"}},
		{"realm in another domain", nil, 5, []string{names("http://me:canary-user@10.1.2.3/token?key=canary-key", 200) + "/team/app:1"}},
		{"reference with a password", nil, 2, []string{"https://me:canary-password@" + host + "/token:1"}},
		{"reference with a password, no scheme", nil, 2, []string{"me:canary-password@" + host + "/token:1"}},
	}
}

// TestShownDiff: the difference shows that a secret would change, but not the
// secret.
func TestShownDiff(t *testing.T) {
	file := func(secret, ca string) []byte {
		return []byte("[host.'https://m']\nca = '" + ca + "'\n\n[host.'https://m'.header]\nx-key = '" + secret + "'\n\n[host.'https://n']\nheader = { a = '" + secret + "' }\n")
	}
	for _, tc := range []struct {
		name     string
		old, new []byte
		want     []string
	}{
		{"nothing", file("canary1", "a"), file("canary1", "a"), nil},
		{"a header", file("canary1", "a"), file("canary2", "a"), []string{"f: only values of headers differ\n"}},
		{"a file", file("canary1", "a"), file("canary2", "b"), []string{"-ca = 'a'\n", "+ca = 'b'\n", " x-key = '***'\n"}},
		{"a new file", nil, file("canary1", "a"), []string{"+x-key = '***'\n", "+header = '***'\n"}},
	} {
		got := string(shownDiff("f", tc.old, tc.new))
		if len(tc.want) == 0 && got != "" {
			t.Errorf("%s: got %q, want nothing", tc.name, got)
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q in it", tc.name, got, want)
			}
		}
		mustHide(t, tc.name, got)
	}
}

// TestL1NoLinesOfNetHTTP has a registry write on a connection that waits for the
// next request. net/http logs such bytes by itself.
func TestL1NoLinesOfNetHTTP(t *testing.T) {
	long(t)
	srv := httptest.NewServer(rawly(func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
		time.Sleep(100 * time.Millisecond) // the connection is idle by then
		fmt.Fprint(c, "HTTP/1.1 200 "+canary+"\x1b[2J\r\n\r\n")
		time.Sleep(100 * time.Millisecond) // or the end of the connection comes first
	}))
	defer srv.Close()
	for _, flags := range [][]string{{"--progress", "json"}, {"--debug"}, {"--http-dump"}} {
		cmd := exec.CommandContext(t.Context(), programName, append(flags, "--root", t.TempDir(), "--retry", "1", "--retry-delay", "400ms", srv.Listener.Addr().String()+"/app")...)
		out, err := cmd.CombinedOutput()
		if err == nil || bytes.Contains(out, []byte(canary)) || bytes.Contains(out, []byte("Unsolicited")) {
			t.Errorf("%s: got %v and %q, want a failure without what net/http logs", flags, err, out)
		}
	}
}
