package registry_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// pipes is a network in memory, which a bubble of synctest can see stand still.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p <- far
	return near, nil
}

// slowly sends a byte every ten seconds, for as long as takes or for ever.
func slowly(w http.ResponseWriter, req *http.Request, takes time.Duration) {
	for start := time.Now(); req.Context().Err() == nil && (takes == 0 || time.Since(start) < takes); time.Sleep(10 * time.Second) {
		io.WriteString(w, " ")
		http.NewResponseController(w).Flush()
	}
}

// slowHeaders is an answer whose headers never end, by hand on the connection.
func slowHeaders(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	for _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n"); err == nil; _, err = io.WriteString(conn, "A: b\r\n") {
		time.Sleep(10 * time.Second)
	}
}

// talk is what a host did in the time of a bubble.
type talk struct {
	took   time.Duration // without the waits between tries
	waited time.Duration
	asked  int
	err    error
}

// talkTo asks a host with the default times and tries, in the time of a bubble.
func talkTo(t *testing.T, answer http.HandlerFunc, refused bool, ask func(context.Context, *registry.Registry, source.Ref) error) (got talk) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		network := pipes(make(chan net.Conn))
		srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			asked.Add(1)
			answer(w, req)
		})}
		go srv.Serve(network)
		defer time.Sleep(time.Hour) // in which everything has ended
		defer srv.Close()
		var waits atomic.Int64
		r, err := registry.New(registry.Options{Hosts: hosts.Options{PlainHTTP: true}, Progress: func(e progress.Event) {
			if e.Kind == progress.Retry {
				waits.Add(int64(e.Wait))
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		ref := parse(t, "registry.example.com/team/app:1")
		registry.ConnectBy(t, r, ref, func(ctx context.Context, n, addr string) (net.Conn, error) {
			if refused {
				asked.Add(1)
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return network.dial(ctx, n, addr)
		})
		start := time.Now()
		err = ask(t.Context(), r, ref)
		waited := time.Duration(waits.Load())
		got = talk{time.Since(start) - waited, waited, int(asked.Load()), err}
	})
	return got
}

// TestL12OneTimeForAllTries has hosts be slow on purpose before the first layer, with the
// default times and tries. They have 45 s for all tries and documents together, and a
// second for each, whatever they do to be asked again. The time is that of a bubble:
// nothing is waited for.
func TestL12OneTimeForAllTries(t *testing.T) {
	resolve := func(ctx context.Context, r *registry.Registry, ref source.Ref) error {
		_, err := r.Resolve(ctx, ref)
		return err
	}
	read := func(ctx context.Context, r *registry.Registry, ref source.Ref) error {
		for n := 1; ; n++ {
			b, err := r.Document(ctx, ref, describe(ocispec.MediaTypeImageConfig, make([]byte, 100)))
			if err == nil {
				_, err = io.ReadAll(b)
				b.Close()
			}
			if err := r.Backoff(ctx, n, err); err != nil {
				return err
			}
		}
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		ask    func(context.Context, *registry.Registry, source.Ref) error
	}{
		"manifest": {func(w http.ResponseWriter, req *http.Request) { slowly(w, req, 0) }, resolve},
		"cut manifest": {func(w http.ResponseWriter, req *http.Request) {
			slowly(w, req, 20*time.Second)
			panic(http.ErrAbortHandler)
		}, resolve},
		"wrong manifest": {func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Docker-Content-Digest", describe("", nil).Digest.String())
			slowly(w, req, 20*time.Second)
		}, resolve},
		"headers": {slowHeaders, resolve},
		"outage": {func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			slowly(w, req, 20*time.Second)
		}, resolve},
		"redirect": {func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Location", req.URL.Path+"x")
			w.WriteHeader(http.StatusFound)
			slowly(w, req, 20*time.Second)
		}, resolve},
		"token":  {asked("token", func(w http.ResponseWriter, req *http.Request) { slowly(w, req, 0) }), resolve},
		"config": {func(w http.ResponseWriter, req *http.Request) { slowly(w, req, 0) }, read},
		"all": {func(w http.ResponseWriter, req *http.Request) {
			slowly(w, req, 50*time.Second)
			panic(http.ErrAbortHandler)
		}, func(ctx context.Context, r *registry.Registry, ref source.Ref) error {
			err := resolve(ctx, r, ref)
			_, manifestErr := r.Manifest(ctx, ref, describe(ocispec.MediaTypeImageManifest, []byte("{}")))
			return errors.Join(err, manifestErr, read(ctx, r, ref))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := talkTo(t, tt.answer, false, tt.ask)
			if most := 45*time.Second + time.Duration(got.asked)*time.Second; got.err == nil || got.took > most {
				t.Errorf("got %v after %s with %d requests, want a failure within %s", got.err, got.took, got.asked, most)
			}
			t.Logf("%s and waits of %s, %d requests: %v", got.took, got.waited, got.asked, got.err)
		})
	}
}

// TestPatienceForOutages is the other side: who refuses, fails or says nothing is asked
// as often as before.
func TestPatienceForOutages(t *testing.T) {
	resolve := func(ctx context.Context, r *registry.Registry, ref source.Ref) error {
		_, err := r.Resolve(ctx, ref)
		return err
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, tt := range map[string]struct {
		answer  http.HandlerFunc
		refused bool
		asked   int
	}{
		"503":     {status(http.StatusServiceUnavailable), false, 11},
		"429":     {status(http.StatusTooManyRequests), false, 11},
		"silence": {func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, false, 11},
		"refused": {nil, true, 2}, // see Retry.Patient
	} {
		t.Run(name, func(t *testing.T) {
			if got := talkTo(t, tt.answer, tt.refused, resolve); got.err == nil || got.asked != tt.asked {
				t.Errorf("got %v after %d requests, want %d", got.err, got.asked, tt.asked)
			}
		})
	}
}
