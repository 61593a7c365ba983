package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/containerd-pull/containerd-pull/pkg/plugin"
	"github.com/containerd-pull/containerd-pull/pkg/sample"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

func TestMain(m *testing.M) {
	os.Setenv("GORACE", os.Getenv("GORACE")+" "+noRaceSleep)
	testscript.Main(m, map[string]func(){
		programName:               main,
		serveName:                 serve,
		plugin.Name:               main,
		plugin.PullExt:            main,
		plugin.DockerPlugin:       main,
		plugin.KubectlPlugin:      main,
		plugin.KubectlCompletions: main,
	})
}

// noRaceSleep shortens the second for which each program waits at its end for
// goroutines that may still report a race.
const noRaceSleep = "atexit_sleep_ms=20"

// TestScripts runs the program. $REGISTRY is a registry whose repositories fail
// as their names say; "good" does not.
func TestScripts(t *testing.T) {
	if !withMounts(t) {
		return
	}
	w := newWorld(t)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		Setup:         w.setup,
		UpdateScripts: golden.Updating(),
		Condition:     condition,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// condition evaluates [root]: whether the script may do everything.
func condition(name string) (bool, error) {
	if name != "root" {
		return false, fmt.Errorf("condition %q is not known", name)
	}
	return realRoot(), nil
}

// world is what the scripts share.
type world struct {
	registry *httptest.Server
	stalling chan struct{}    // gets one for each answer that stalls
	release  chan struct{}    // closed when large layers may come that are held back
	deaf     net.Listener     // accepts connections and never answers
	secure   *httptest.Server // the registry behind a certificate that is not trusted
}

func (w *world) host() string { return strings.TrimPrefix(w.registry.URL, "http://") }

// stalls waits until a client waits for the rest of an answer.
func (w *world) stalls(t *testing.T) {
	t.Helper()
	select {
	case <-w.stalling:
	case <-time.After(30 * time.Second):
		t.Fatal("got no request for what stalls")
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	real, err := sample.Serve(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { real.Close() })
	w := &world{stalling: make(chan struct{}, 100), release: make(chan struct{})}
	w.registry = httptest.NewServer(w.guarded(w.faulty(real)))
	t.Cleanup(w.registry.Close)
	w.secure = httptest.NewTLSServer(w.registry.Config.Handler)
	w.secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(w.secure.Close)
	if w.deaf, err = net.Listen("unix", filepath.Join(t.TempDir(), "deaf.sock")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.deaf.Close() })
	return w
}

// faulty serves the image of real under any repository name, with the fault
// that the name stands for.
func (w *world) faulty(real *sample.Registry) http.Handler {
	_, name, _ := strings.Cut(real.Ref(), "/")
	name, _, _ = strings.Cut(name, ":")
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: real.Host()})
	proxy.ModifyResponse = w.spoil
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v2/"), "library/") // as a mirror of Docker Hub
		repository, rest, _ := strings.Cut(path, "/")
		statuses := map[string]int{"unauthorized": 401, "forbidden": 403, "missing": 404, "limited": 429, "down": 503}
		if status := statuses[repository]; status != 0 {
			if repository == "limited" {
				w.Header().Set("Retry-After", "3600")
			}
			http.Error(w, "", status)
			return
		}
		if user, password, _ := r.BasicAuth(); repository == "private" && user+password != "mecanary" {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		r.Header.Set("Fault", repository)
		r.URL.Path = "/v2/" + name + "/" + rest
		proxy.ServeHTTP(w, r)
	})
}

// spoil changes answers about blobs and manifests.
func (w *world) spoil(resp *http.Response) error {
	blob := strings.Contains(resp.Request.URL.Path, "/blobs/")
	switch fault := resp.Request.Header.Get("Fault"); {
	case fault == "corrupt" && blob:
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("spoilt"), skip(resp.Body, 6)))
	case fault == "endless" && blob:
		resp.Body = io.NopCloser(io.MultiReader(resp.Body, strings.NewReader("and more")))
		resp.ContentLength = -1
		resp.Header.Del("Content-Length")
	case fault == "slow" && blob:
		time.Sleep(300 * time.Millisecond)
	case fault == "stalling" && blob:
		w.stalling <- struct{}{}
		resp.Body = io.NopCloser(&stalled{resp.Request})
	case fault == "held" && blob && resp.ContentLength > 1<<20:
		resp.Body = &held{resp.Body, w.release, resp.Request}
	case fault == "text" && !blob && resp.StatusCode == http.StatusOK:
		const text = "this is no manifest"
		resp.Body = io.NopCloser(strings.NewReader(text))
		resp.ContentLength = int64(len(text))
		resp.Header = http.Header{"Content-Type": resp.Header["Content-Type"], "Content-Length": {strconv.Itoa(len(text))}}
	}
	return nil
}

func skip(r io.Reader, n int64) io.Reader {
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		return bytes.NewReader(nil)
	}
	return r
}

// stalled returns nothing until the client has gone.
type stalled struct{ r *http.Request }

func (s *stalled) Read([]byte) (int, error) {
	<-s.r.Context().Done()
	return 0, s.r.Context().Err()
}

// held returns nothing until it is released, or the client has gone.
type held struct {
	io.ReadCloser
	release chan struct{}
	r       *http.Request
}

func (h *held) Read(p []byte) (int, error) {
	select {
	case <-h.release:
		return h.ReadCloser.Read(p)
	case <-h.r.Context().Done():
		return 0, h.r.Context().Err()
	}
}

func (w *world) setup(env *testscript.Env) error {
	env.Setenv("REGISTRY", w.host())
	env.Setenv("TLS", strings.TrimPrefix(w.secure.URL, "https://"))
	env.Setenv("DEAF", w.deaf.Addr().String())
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("GORACE", os.Getenv("GORACE"))
	return nil
}

// exits runs a program and compares its exit code: exits 2 program args...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("running %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code of %s: got %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}
