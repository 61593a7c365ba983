package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

// failing is a pull that fails, one row of the table in docs/reliability.md.
type failing struct {
	what string
	env  []string
	args []string
	hide []string // pairs of what is another in every run and what stands for it
}

// Where the table stands.
const (
	toldPage    = "../../docs/reliability.md"
	toldHeading = "\n## What is said, and when\n"
)

//go:generate ../../.ci/named TestWhatIsSaid -update

// TestWhatIsSaid runs a pull into each failure of the table in docs/reliability.md
// and compares when and what it says. With -update it writes the table.
func TestWhatIsSaid(t *testing.T) {
	long(t)
	text, err := os.ReadFile(toldPage)
	if err != nil {
		t.Fatal(err)
	}
	before, below, ok := strings.Cut(string(text), toldHeading)
	_, after, more := strings.Cut(below, "\n## ")
	if !ok || !more {
		t.Fatalf("%s has no section%s", toldPage, toldHeading)
	}
	intro, _, _ := strings.Cut(below, "| failure |")
	var table strings.Builder
	table.WriteString("| failure | told | code | message, and hint |\n|---|---|---|---|\n")
	for _, f := range failings(t) {
		table.WriteString(f.row(t))
	}
	golden.File(t, toldPage, []byte(before+toldHeading+intro+table.String()+"\n## "+after))
}

// row runs the pull.
func (f failing) row(t *testing.T) string {
	t.Helper()
	args := append([]string{"--progress", "plain", "--root", filepath.Join(t.TempDir(), "root"), "--unpack=false"}, f.args...)
	cmd := exec.CommandContext(t.Context(), programName, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, f.env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil {
		t.Errorf("%s: got a success", f.what)
	}
	waits := regexp.MustCompile(`: retry \d+ in (\S+):`).FindAllStringSubmatch(stderr.String(), -1)
	told := map[int]string{0: "at once", 1: "within 2 s, after one more try"}[len(waits)]
	for _, w := range waits {
		if d, err := time.ParseDuration(w[1]); err != nil || d > 1500*time.Millisecond {
			t.Errorf("%s: got a wait of %s and %v, want an end within two seconds", f.what, d, err)
		}
	}
	_, message, _ := strings.Cut(stderr.String(), programName+": ")
	message, hint, _ := strings.Cut(strings.TrimSpace(message), "\nhint: ")
	hint, _, _ = strings.Cut(hint, "\n")
	said := fmt.Sprintf("%s<br>*%s*", f.mask(message), f.mask(hint))
	return fmt.Sprintf("| %s | %s | %d | %s |\n", f.what, told, cmd.ProcessState.ExitCode(), said)
}

// mask puts names in the place of addresses and of other things that differ.
func (f failing) mask(text string) string {
	for pair := range slices.Chunk(f.hide, 2) {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	text = regexp.MustCompile(` on [0-9a-f.:\[\]]+:53`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`127\.0\.0\.1:\d+->`).ReplaceAllString(text, "")
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(text)
}

func failings(t *testing.T) []failing {
	t.Helper()
	empty, proxy403, proxy407 := vacant(t), refusingProxy(t, "403 Forbidden"), refusingProxy(t, "407 Proxy Authentication Required")
	plain := served(t, nil, http.NotFound)
	private := served(t, nil, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		code := http.StatusUnauthorized
		if req.Header.Get("Authorization") != "" {
			code = http.StatusForbidden
		}
		w.WriteHeader(code)
	})
	harbor := served(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusPreconditionFailed)
		io.WriteString(w, `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"current image with 3 vulnerabilities cannot be pulled"}]}`)
	})
	lacks := served(t, nil, func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/team/app/tags/list") {
			io.WriteString(w, `{"name":"team/app","tags":["1.2","1.3"]}`)
			return
		}
		code := "MANIFEST_UNKNOWN"
		if strings.HasSuffix(req.URL.Path, "/list") {
			code = "NAME_UNKNOWN"
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"not there"}]}`, code)
	})
	old := served(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, http.NotFound)
	mutual := served(t, func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }, http.NotFound)
	untrusted := served(t, func(*tls.Config) {}, http.NotFound)
	docker := filepath.Join(t.TempDir(), "config.json")
	write(t, docker, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, private, base64.StdEncoding.EncodeToString([]byte("u:pw"))))
	const far = "registry.example.com/team/app:1"
	var list []failing
	add := func(what string, env []string, hide []string, args ...string) {
		list = append(list, failing{what, env, args, hide})
	}
	at := func(host string) []string { return []string{host, "REGISTRY"} }
	add("name that does not exist", nil, nil, "registry.invalid/team/app:1")
	add("no server at the address", nil, at(empty), empty+"/team/app:1")
	add("proxy that forbids the host", []string{"HTTPS_PROXY=http://" + proxy403}, []string{proxy403, "PROXY"}, far)
	add("proxy that wants a password", []string{"HTTPS_PROXY=http://" + proxy407}, []string{proxy407, "PROXY"}, far)
	add("no proxy at the address", []string{"HTTPS_PROXY=http://" + empty}, []string{empty, "PROXY"}, far)
	add("proxy with a `#` in its password", []string{"HTTPS_PROXY=http://user:pa#ss@proxy.example.com:3128"}, nil, far)
	add("old TLS", nil, at(old), "--hosts-dir", httpsOnly(t, old, "skip_verify = true"), old+"/team/app:1")
	add("client certificate wanted", nil, at(mutual), "--hosts-dir", httpsOnly(t, mutual, "skip_verify = true"), mutual+"/team/app:1")
	add("unknown certificate authority", nil, at(untrusted), "--hosts-dir", httpsOnly(t, untrusted, ""), untrusted+"/team/app:1")
	add("plain HTTP without a flag", nil, at(plain), "--hosts-dir", httpsOnly(t, plain, ""), plain+"/team/app:1")
	add("credential that is stale", nil, append(at(private), docker, "FILE"), "--authfile", docker, private+"/team/app:1")
	add("no credential", nil, at(private), private+"/team/app:1")
	add("policy of the registry", nil, at(harbor), harbor+"/team/app:1")
	add("tag that does not exist", nil, at(lacks), lacks+"/team/app:1.4")
	add("repository that does not exist", nil, at(lacks), lacks+"/team/ap:1.2")
	add("scheme before the name", nil, nil, "https://"+far)
	add("namespace that can be none", nil, nil, "-n", "team/prod", far)
	return append(list, furtherFailings(t, proxy403, proxy407)...)
}

// furtherFailings are those in which a server between the registry and the program
// refuses, or the credential is at fault.
func furtherFailings(t *testing.T, proxy403, proxy407 string) []failing {
	t.Helper()
	refuses := served(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	storage := served(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
	})
	leads := served(t, nil, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "http://"+storage+"/objects?signature=x", http.StatusTemporaryRedirect)
	})
	limits := served(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "21600")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`)
	})
	docker, config, lost := filepath.Join(t.TempDir(), "config.json"), filepath.Join(t.TempDir(), "config.toml"), filepath.Join(t.TempDir(), "password")
	write(t, docker, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, refuses, base64.StdEncoding.EncodeToString([]byte("u:pw"))))
	write(t, config, fmt.Sprintf("[credentials]\nmatch = [%q]\nsource = 'password'\nusername = 'u'\npassword_file = %q\n", refuses, lost))
	const far = "registry.example.com/team/app:1"
	return []failing{
		{"proxy that forbids a plain request", []string{"HTTP_PROXY=http://" + proxy403}, []string{"--plain-http", far}, []string{proxy403, "PROXY"}},
		{"proxy that wants a password for a plain request", []string{"HTTP_PROXY=http://u:pw@" + proxy407}, []string{"--plain-http", far}, []string{proxy407, "PROXY"}},
		{"proxy with a bad `%` in its password", []string{"HTTPS_PROXY=http://user:pa%ss@proxy.example.com:3128"}, []string{far}, nil},
		{"credential that is refused", nil, []string{"--authfile", docker, refuses + "/team/app:1"}, []string{refuses, "REGISTRY", docker, "FILE"}},
		{"file of a password that is missing", nil, []string{"--config", config, refuses + "/team/app:1"}, []string{refuses, "REGISTRY", lost, "FILE"}},
		{"storage that refuses", nil, []string{leads + "/team/app:1"}, []string{leads, "REGISTRY", storage, "STORAGE"}},
		{"limit of pulls", nil, []string{limits + "/team/app:1"}, []string{limits, "REGISTRY"}},
	}
}

// TestTokenHostsAreOffered logs in to a registry whose token server is in another place,
// and is told the line to write: Scaleway, gitea#28039.
func TestTokenHostsAreOffered(t *testing.T) {
	long(t)
	const far = "127.0.0.9:1"
	host := served(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+far+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	dir := t.TempDir()
	docker, config := filepath.Join(dir, "config.json"), filepath.Join(dir, "config.toml")
	write(t, docker, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("u:pw"))))
	write(t, config, fmt.Sprintf("[profiles.p]\nmatch = [%q]\nplain_http = true\nauthfile = %q\n", host, docker))
	cmd := exec.CommandContext(t.Context(), programName, "profile", "check", "--online", "--config", config, "p")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	out, err := cmd.CombinedOutput()
	if want := `write token_hosts = ["` + far + `"] into the configuration`; err == nil || !strings.Contains(string(out), want) {
		t.Errorf("got %v and %s, want a failure with %q", err, out, want)
	}
}

// served is the address of a server, with TLS if change is not nil.
func served(t *testing.T, change func(*tls.Config), handler http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if change != nil {
		srv.TLS = &tls.Config{}
		change(srv.TLS)
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// httpsOnly is a folder that says of a host that it is asked by HTTPS.
func httpsOnly(t *testing.T, host, more string) string {
	t.Helper()
	dir := t.TempDir()
	folder := filepath.Join(dir, host)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "hosts.toml"), fmt.Sprintf("server = %q\n%s\n", "https://"+host, more))
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// vacant is an address at which nothing listens.
func vacant(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// refusingProxy answers each request with one status line.
func refusingProxy(t *testing.T, status string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
			conn.Close()
		}
	}()
	return l.Addr().String()
}
