package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

// TestRule7HostileRegistries runs the program against each of them (findings M2,
// M3, L12), and wants it to fail soon and with little memory.
func TestRule7HostileRegistries(t *testing.T) {
	long(t)
	for name, handler := range hostileRegistries() {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(handler)
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.Start()
			defer srv.Close()
			defer srv.CloseClientConnections()
			mustEndSmall(t, nil, "--stall-timeout", "1s", "--retry", "1", "--retry-delay", "10ms", srv.Listener.Addr().String()+"/app:1")
		})
	}
}

// TestM8HelperThatSaysTooMuch is a helper which writes 300 MB.
func TestM8HelperThatSaysTooMuch(t *testing.T) {
	long(t)
	for stream, text := range map[string]string{"stdout": "head -c 300000000 /dev/zero", "stderr": "head -c 300000000 /dev/zero >&2; exit 1"} {
		t.Run(stream, func(t *testing.T) {
			srv := httptest.NewServer(toToken(func(http.ResponseWriter, *http.Request) {}))
			defer srv.Close()
			dir := t.TempDir()
			for name, content := range map[string]string{"docker-credential-flood": "#!/bin/sh\n" + text + "\n", "config.json": `{"credsStore":"flood"}`} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			mustEndSmall(t, []string{"DOCKER_CONFIG=" + dir, "PATH=" + dir + ":" + os.Getenv("PATH")}, srv.Listener.Addr().String()+"/app:1")
		})
	}
}

// mustEndSmall runs a pull that has to fail, in time and without much memory.
func mustEndSmall(t *testing.T, env []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), programName, append([]string{"--root", t.TempDir(), "--unpack=false", "--progress", "plain"}, args...)...)
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
		case err := <-ended:
			if code := cmd.ProcessState.ExitCode(); err == nil || code <= 0 || code == 1 || peak > hostileMemory {
				t.Errorf("got %v and a peak of %d MiB after %s, want a failure and at most %d MiB: %.1000s",
					err, peak>>20, time.Since(start), hostileMemory>>20, stderr.Bytes())
			}
			t.Logf("peak %d MiB, %s: %.300s", peak>>20, time.Since(start).Round(time.Millisecond), stderr.Bytes())
			return
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
