package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What the program may take for anything that comes before the first layer.
const (
	hostileMemory = 256 << 20
	hostileTime   = 60 * time.Second
)

// document is one that a hostile registry serves under its digest or as a tag.
type document struct {
	mediaType string
	body      []byte
}

func (d document) desc() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.mediaType, Digest: digest.FromBytes(d.body), Size: int64(len(d.body))}
}

// manifestOf returns a manifest with the layers, in JSON, and something that
// makes it another one.
func manifestOf(config ocispec.Descriptor, layers, other string) document {
	text, err := json.Marshal(config)
	if err != nil {
		panic(err) // a descriptor is plain data
	}
	return document{ocispec.MediaTypeImageManifest, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"annotations":{"other":%q}}`,
		ocispec.MediaTypeImageManifest, text, layers, other)}
}

// fleet is an index of many manifests without a platform, and these.
func fleet(layers, padding string) (index document, all []document) {
	config := document{ocispec.MediaTypeImageConfig, []byte(`{"os":"plan9","architecture":"mips"}`)}
	list := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	list.SchemaVersion = 2
	for i := range 15 {
		m := manifestOf(config.desc(), layers, fmt.Sprint(i)+padding)
		list.Manifests = append(list.Manifests, m.desc())
		all = append(all, m)
	}
	body, err := json.Marshal(list)
	if err != nil {
		panic(err) // an index is plain data
	}
	return document{ocispec.MediaTypeImageIndex, body}, append(all, config)
}

// image serves documents, the first by any tag, in gzip coding.
func hostileImage(first document, others ...document) http.HandlerFunc {
	byDigest := map[string]document{}
	for _, d := range append(others, first) {
		byDigest[d.desc().Digest.String()] = d
	}
	return func(w http.ResponseWriter, r *http.Request) {
		d, ok := byDigest[filepath.Base(r.URL.Path)]
		if !ok {
			d = first
		}
		w.Header().Set("Content-Type", d.mediaType)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(d.body)
		z.Close()
	}
}

func hostileZip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func flood(w io.Writer, chunk []byte) {
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func trickle(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		io.WriteString(w, " ")
		http.NewResponseController(w).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}

// toToken leads to a token server that answers with body.
func toToken(body http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			body(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// rawly answers by hand on the connection.
func rawly(answer func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		answer(conn)
	}
}

// hostileRegistries are all that a registry or a token server may do before the
// first layer, in one way each.
func hostileRegistries() map[string]http.HandlerFunc {
	objects := strings.Repeat("{},", (4<<20-2000)/3) + "{}"
	config := document{ocispec.MediaTypeImageConfig, []byte(`{"os":"linux","rootfs":{"diff_ids":[` + strings.Repeat(`"",`, (4<<20-1000)/3) + `""]}}`)}
	bombs, parts := fleet(objects, "")
	large, largeParts := fleet("", strings.Repeat("x", 4<<20-2000))
	members, zeros := bytes.Repeat(hostileZip(nil), 1<<10), make([]byte, 64<<10)
	encoded := func(coding string, chunk []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Content-Encoding", coding)
			flood(w, chunk)
		}
	}
	failing := func(body http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			body(w, r)
		}
	}
	return map[string]http.HandlerFunc{
		"endless manifest":   encoded("identity", zeros),
		"endless error":      failing(func(w http.ResponseWriter, _ *http.Request) { flood(w, zeros) }),
		"endless token":      toToken(func(w http.ResponseWriter, _ *http.Request) { flood(w, zeros) }),
		"empty members":      encoded("gzip", members),
		"members of zeros":   encoded("gzip", hostileZip(make([]byte, 16<<20))),
		"skippable frames":   encoded("zstd", bytes.Repeat([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, 1<<13)),
		"slow manifest":      trickle,
		"slow error":         failing(trickle),
		"slow token":         toToken(trickle),
		"slow token error":   toToken(failing(trickle)),
		"bomb":               hostileImage(manifestOf(config.desc(), objects, ""), config),
		"bombs":              hostileImage(bombs, parts...),
		"bomb of a config":   hostileImage(manifestOf(config.desc(), "", ""), config),
		"large manifests":    hostileImage(large, largeParts...),
		"endless headers":    rawly(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\n"); flood(c, []byte("A: b\r\n")) }),
		"endless header":     rawly(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nA: "); flood(c, zeros) }),
		"endless 1xx":        rawly(func(c net.Conn) { flood(c, []byte("HTTP/1.1 103 Early Hints\r\n\r\n")) }),
		"endless first line": rawly(func(c net.Conn) { flood(c, bytes.Repeat([]byte("H"), 4096)) }),
		"endless chunk header": rawly(func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
			flood(c, bytes.Repeat([]byte("x"), 4096))
		}),
		"endless redirects":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) },
		"endless token retries": toToken(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }),
	}
}

// hostileWords are answers whose headers or errors are what is wrong with them.
func hostileWords() map[string]http.HandlerFunc {
	const most = 1<<20 - 8<<10 // of the headers of an answer
	refuse := func(status int, name string, values ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header()[name] = values
			w.WriteHeader(status)
		}
	}
	many := func(value string) []string {
		return slices.Repeat([]string{value}, most/(len(value)+len("Www-Authenticate: \r\n")))
	}
	fill := func(text string) string { return strings.Repeat(text, most/len(text)) }
	elsewhere := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				return
			}
			w.WriteHeader(http.StatusForbidden)
			flood(w, []byte(body))
		}
	}
	return map[string]http.HandlerFunc{
		"challenge of many parameters": refuse(http.StatusUnauthorized, "Www-Authenticate", `Bearer realm="http://127.0.0.1:1/",`+fill(`a="b",`)),
		"challenge without an end":     refuse(http.StatusUnauthorized, "Www-Authenticate", `Bearer realm="`+fill(`\\`)),
		"challenges in one header":     refuse(http.StatusUnauthorized, "Www-Authenticate", fill("Basic,")),
		"challenges in many headers":   refuse(http.StatusUnauthorized, "Www-Authenticate", many("Digest a=b")...),
		"large realm":                  refuse(http.StatusUnauthorized, "Www-Authenticate", `Bearer realm="http://127.0.0.1:1/`+fill("x")+`"`),
		"large location":               refuse(http.StatusFound, "Location", "/"+fill("x")),
		"large status":                 rawly(func(c net.Conn) { fmt.Fprintf(c, "HTTP/1.1 404 %s\r\n\r\n", fill("\x9b")) }),
		"wait of a year":               refuse(http.StatusServiceUnavailable, "Retry-After", "31536000"),
		"xml behind a redirect":        elsewhere("<Error><Code>"),
		"open tags behind a redirect":  elsewhere("<a>"),
		"entities behind a redirect":   elsewhere(`<!DOCTYPE a [<!ENTITY b "c">]><a>` + strings.Repeat("&b;", 1<<10)),
		"json behind a redirect":       elsewhere(`{"errors":[`),
		"arrays behind a redirect":     elsewhere("["),
	}
}

// hostileLists are lists of tags, which are asked for where a tag is missing.
func hostileLists() map[string]http.HandlerFunc {
	listing := func(list http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/tags/list") {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			list(w, r)
		}
	}
	pages := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=%sx>; rel="next"`, r.URL.Path, r.URL.Query().Get("last")))
	}
	return map[string]http.HandlerFunc{
		"endless tags": listing(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"tags":["`)
			flood(w, []byte(`a","`))
		}),
		"empty tags": listing(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"tags":["`+strings.Repeat(`","`, (4<<20-100)/3)+`"]}`)
		}),
		"long tags": listing(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"tags":["`+strings.Repeat(strings.Repeat("a", 128)+`","`, 30_000)+`"]}`)
		}),
		"endless pages": listing(func(w http.ResponseWriter, r *http.Request) { pages(w, r); io.WriteString(w, `{"tags":["a"]}`) }),
		"slow pages":    listing(func(w http.ResponseWriter, r *http.Request) { pages(w, r); trickle(w, r) }),
		"many links": listing(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Link"] = slices.Repeat([]string{`</x>; rel="prev", <`}, 30_000)
			io.WriteString(w, `{"tags":["a"]}`)
		}),
		"deep list": listing(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"tags":`); flood(w, []byte("[")) }),
	}
}

// hostileTrees are images whose documents lead to each other in ways that no
// image does.
func hostileTrees() map[string]http.HandlerFunc {
	config := document{ocispec.MediaTypeImageConfig, []byte(`{"os":"plan9","architecture":"mips"}`)}
	leaf := manifestOf(config.desc(), "", "")
	indexOf := func(children ...document) document {
		list := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
		list.SchemaVersion = 2
		for i, child := range children {
			desc := child.desc()
			desc.Annotations = map[string]string{"n": strconv.Itoa(i)}
			list.Manifests = append(list.Manifests, desc)
		}
		body, err := json.Marshal(list)
		if err != nil {
			panic(err) // an index is plain data
		}
		return document{ocispec.MediaTypeImageIndex, body}
	}
	chain := []document{leaf}
	for range 2000 {
		chain = append(chain, indexOf(chain[len(chain)-1]))
	}
	diamonds := []document{leaf, indexOf(leaf)}
	for range 30 { // 2^30 ways down
		last := len(diamonds) - 1
		diamonds = append(diamonds, indexOf(diamonds[last], diamonds[last-1], diamonds[last]))
	}
	deep := document{ocispec.MediaTypeImageConfig, []byte(`{"os":"linux","config":` + strings.Repeat(`{"a":`, 500_000) + "1" + strings.Repeat("}", 500_000+1))}
	return map[string]http.HandlerFunc{
		"indexes without an end": hostileImage(chain[len(chain)-1], append(chain, config)...),
		"indexes of each other":  hostileImage(diamonds[len(diamonds)-1], append(diamonds, config)...),
		"deep config":            hostileImage(manifestOf(deep.desc(), "", ""), deep),
		"deep manifest":          hostileImage(manifestOf(config.desc(), strings.Repeat(`{"annotations":`, 200_000)+strings.Repeat("}", 200_000), ""), config),
	}
}

// TestRule7HostileRegistries runs the program against each of them (findings M2,
// M3, L12), and wants it to fail soon and with little memory.
func TestRule7HostileRegistries(t *testing.T) {
	long(t)
	all := hostileRegistries()
	for _, more := range []map[string]http.HandlerFunc{hostileWords(), hostileLists(), hostileTrees()} {
		maps.Copy(all, more)
	}
	program := plainProgram(t)
	for name, handler := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewUnstartedServer(handler)
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.Start()
			defer srv.Close()
			defer srv.CloseClientConnections()
			mustEndSmall(t, program, nil, append(shortTimes(), srv.Listener.Addr().String()+"/app:1")...)
		})
	}
}

// shortTimes has the program give up soon, unless the defaults are to be tried,
// with which a host that is slow is given up after 45 s.
func shortTimes() []string {
	if triesDefaults() {
		return nil
	}
	return []string{"--stall-timeout", "1s", "--retry", "1", "--retry-delay", "10ms"}
}

func triesDefaults() bool { return os.Getenv("HOSTILE_DEFAULTS") != "" }

// TestRule7HostileProxies has the proxy do it that every request to a registry goes
// through.
func TestRule7HostileProxies(t *testing.T) {
	long(t)
	program := plainProgram(t)
	says := func(first string, then ...byte) http.HandlerFunc {
		return rawly(func(c net.Conn) { io.WriteString(c, first); flood(c, then) })
	}
	handshake := append([]byte{22, 3, 3, 0x40, 0, 2, 0, 0xff, 0xff}, make([]byte, 1<<14-4)...)
	for name, handler := range map[string]http.HandlerFunc{
		"endless headers":    says("HTTP/1.1 200 OK\r\n", []byte("A: b\r\n")...),
		"endless 1xx":        says("", []byte("HTTP/1.1 103 Early Hints\r\n\r\n")...),
		"endless first line": says("HTTP/1.1 ", bytes.Repeat([]byte("x"), 4096)...),
		"endless refusal":    says("HTTP/1.1 407 No\r\n\r\n", make([]byte, 64<<10)...),
		"endless handshake":  says("HTTP/1.1 200 OK\r\n\r\n", handshake...),
		"endless nothing":    says("HTTP/1.1 200 OK\r\n\r\n", 0, 0, 0, 0, 0),
		"no answer":          func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"slow":               rawly(func(c net.Conn) { dripTo(c, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("b", 1<<10)) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(handler)
			defer srv.Close()
			defer srv.CloseClientConnections()
			mustEndSmall(t, program, []string{"HTTPS_PROXY=" + srv.URL, "NO_PROXY=", "no_proxy="}, append(shortTimes(), "registry.example.com/app:1")...)
		})
	}
}

func dripTo(c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// TestRule7HostileHeads has an image that is there asked for again, which begins
// with HEAD.
func TestRule7HostileHeads(t *testing.T) {
	long(t)
	program := plainProgram(t)
	config := document{ocispec.MediaTypeImageConfig, []byte(`{"os":"plan9","architecture":"mips"}`)}
	first := manifestOf(config.desc(), "", "")
	good := hostileImage(first, config)
	same := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nDocker-Content-Digest: %s\r\n", first.mediaType, first.desc().Digest)
	for name, handler := range map[string]http.HandlerFunc{
		"a body": rawly(func(c net.Conn) { fmt.Fprintf(c, "%sContent-Length: 1\r\n\r\n", same); flood(c, make([]byte, 64<<10)) }),
		"chunks": rawly(func(c net.Conn) {
			fmt.Fprintf(c, "%sTransfer-Encoding: chunked\r\n\r\n", same)
			flood(c, []byte("1\r\n \r\n"))
		}),
		"endless headers": rawly(func(c net.Conn) { io.WriteString(c, same); flood(c, []byte("A: b\r\n")) }),
		"slow headers":    rawly(func(c net.Conn) { io.WriteString(c, same); dripTo(c, strings.Repeat("A: b\r\n", 1<<10)) }),
		"large digest": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("a", 900<<10))
		},
		"large size": rawly(func(c net.Conn) { fmt.Fprintf(c, "%sContent-Length: 9223372036854775807\r\n\r\n", same) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hostile atomic.Bool
			var heads atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if hostile.Load() && r.Method == http.MethodHead {
					heads.Add(1)
					handler(w, r)
					return
				}
				good(w, r)
			}))
			defer srv.Close()
			defer srv.CloseClientConnections()
			args := append(shortTimes(), "--root", t.TempDir(), "--unpack=false", "--platform", "plan9/mips", srv.Listener.Addr().String()+"/app:1")
			if code, text := endSmall(t, program, nil, args...); code != 0 {
				t.Fatalf("got code %d, want the image: %.1000s", code, text)
			}
			hostile.Store(true)
			code, text := endSmall(t, program, nil, args...)
			if code == 1 || code == 2 { // GET may do better than HEAD, and need not
				t.Errorf("got code %d, want a pull: %.1000s", code, text)
			}
			if heads.Load() == 0 {
				t.Errorf("got no HEAD: %.1000s", text)
			}
		})
	}
}

// TestM8HelperThatSaysTooMuch has programs that give out credentials write 300 MB,
// or an answer of which much could be made. With the default times they never end,
// either.
func TestM8HelperThatSaysTooMuch(t *testing.T) {
	long(t)
	program := plainProgram(t)
	many := "head -c 300000000 /dev/zero"
	if triesDefaults() {
		many = "cat /dev/zero"
	}
	for said, script := range map[string]string{
		"stdout":  many,
		"stderr":  many + " >&2; exit 1",
		"both":    many + " >&2 & " + many + "; wait",
		"objects": `printf '{"kind":"CredentialProviderResponse","auth":{'; yes '"a":{},' | head -c 1000000; printf '"b":{}}}'`,
		"arrays":  `yes '[' | tr -d '\n' | head -c 1000000`,
	} {
		for by, arrange := range map[string]func(t *testing.T, script string) (env, args []string){
			"docker": dockerHelper, "kubelet": kubeletProvider, "command": passwordCommand,
		} {
			t.Run(by+"/"+said, func(t *testing.T) {
				t.Parallel()
				srv := httptest.NewServer(toToken(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
				defer srv.Close()
				env, args := arrange(t, "#!/bin/sh\n"+script+"\n")
				mustEndSmall(t, program, env, append(args, srv.Listener.Addr().String()+"/app:1")...)
			})
		}
	}
}

// TestRule7EndlessPassword has a password come on stdin that never ends.
func TestRule7EndlessPassword(t *testing.T) {
	zeros, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zeros.Close()
	if got, err := readLine(zeros); err != nil || len(got) > 64<<10 {
		t.Errorf("got %d bytes and %v, want at most 64 KiB", len(got), err)
	}
}

// writeAll writes files that may be executed, by name, and returns their folder.
func writeAll(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func dockerHelper(t *testing.T, script string) (env, args []string) {
	dir := writeAll(t, map[string]string{"docker-credential-flood": script, "config.json": `{"credsStore":"flood"}`})
	return []string{"DOCKER_CONFIG=" + dir, "PATH=" + dir + ":" + os.Getenv("PATH")}, nil
}

func kubeletProvider(t *testing.T, script string) (env, args []string) {
	dir := writeAll(t, map[string]string{
		"flood":         script,
		"provider.yaml": "kind: CredentialProviderConfig\nproviders: [{name: flood, matchImages: ['127.0.0.1:*', '127.0.0.1'], apiVersion: credentialprovider.kubelet.k8s.io/v1, defaultCacheDuration: 0s}]\n",
	})
	return nil, configured(t, fmt.Sprintf("source = \"credential-provider\"\nconfig = %q\nbin_dir = %q\n", filepath.Join(dir, "provider.yaml"), dir))
}

func passwordCommand(t *testing.T, script string) (env, args []string) {
	dir := writeAll(t, map[string]string{"flood": script})
	return []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, configured(t, "source = \"password\"\nusername = \"robot\"\npassword_command = [\"flood\"]\n")
}

// configured is the flag for a configuration with one credential.
func configured(t *testing.T, credential string) []string {
	t.Helper()
	dir := writeAll(t, map[string]string{"config.toml": "[[credentials]]\n" + credential})
	return []string{"--config", filepath.Join(dir, "config.toml")}
}

// plainProgram is the program as users have it: the race detector, with which tests
// may be built, takes many times the memory.
func plainProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), programName)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v: %s", err, out)
	}
	return program
}

// mustEndSmall runs a pull that has to fail, in time and without much memory.
func mustEndSmall(t *testing.T, program string, env []string, args ...string) {
	t.Helper()
	code, text := endSmall(t, program, env, append([]string{"--root", t.TempDir(), "--unpack=false"}, args...)...)
	if code <= 2 { // 2 is a command that was not run
		t.Errorf("got code %d, want a failure: %.1000s", code, text)
	}
	t.Logf("%.300s", text)
}

// endSmall runs the program, which has to end in time and without much memory, and
// returns its exit code and what it says.
func endSmall(t *testing.T, program string, env []string, args ...string) (code int, text []byte) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--progress", "plain"}, args...)...)
	cmd.Env = append(cmd.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var peak int64
	for {
		select {
		case <-ended:
			if peak > hostileMemory {
				t.Errorf("got a peak of %d MiB, want at most %d MiB: %.1000s", peak>>20, hostileMemory>>20, stderr.Bytes())
			}
			t.Logf("peak %d MiB, %s", peak>>20, time.Since(start).Round(time.Millisecond))
			return cmd.ProcessState.ExitCode(), stderr.Bytes()
		case <-time.After(5 * time.Millisecond):
			peak = max(peak, residentPeak(cmd.Process.Pid))
		}
		if time.Since(start) > hostileTime {
			cmd.Process.Kill()
			<-ended
			t.Fatalf("the program still runs after %s, with a peak of %d MiB: %.1000s", hostileTime, peak>>20, stderr.Bytes())
		}
	}
}

// residentPeak returns the largest resident memory of a process so far, in
// bytes. What the kernel says after its end counts that of its parent, too.
func residentPeak(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64) // 0 if it has just ended
	return kib << 10
}

// TestL3PlatformIsNoLine has an index name a platform with more than one line in
// it.
func TestL3PlatformIsNoLine(t *testing.T) {
	long(t)
	m := manifestOf(document{ocispec.MediaTypeImageConfig, []byte("{}")}.desc(), "", "")
	desc := m.desc()
	desc.Platform = &ocispec.Platform{OS: "plan9\nforged: line\u009b", Architecture: "mips"}
	body, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{desc}})
	if err != nil {
		t.Fatal(err)
	}
	body = bytes.Replace(body, []byte(`"schemaVersion":0`), []byte(`"schemaVersion":2`), 1)
	srv := httptest.NewServer(hostileImage(document{ocispec.MediaTypeImageIndex, body}, m))
	defer srv.Close()
	cmd := exec.CommandContext(t.Context(), programName, "--root", t.TempDir(), "--unpack=false", srv.Listener.Addr().String()+"/app:1")
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(`plan9\nforged`)) || bytes.Contains(out, []byte("\nforged")) || bytes.Contains(out, []byte("\u009b")) {
		t.Errorf("got %v and %q, want the platform in one line", err, out)
	}
}
