package registry_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// A host that is silent is reported long before it is given up: before its answer,
// and in the middle of one.
func TestN5SilenceIsReported(t *testing.T) {
	pulltest.Long(t)
	release := make(chan struct{})
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v2/a/blobs/"+describe(layerType, []byte("xy")).Digest.String() {
			w.Header().Set("Content-Length", "2")
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
		}
		select {
		case <-release:
		case <-req.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	for name, ask := range map[string]func(context.Context, *registry.Registry) error{
		"answer": func(ctx context.Context, r *registry.Registry) error {
			_, err := r.Resolve(ctx, srv.ref(t, "a:1"))
			return err
		},
		"body": func(ctx context.Context, r *registry.Registry) error {
			body, err := r.Open(ctx, srv.ref(t, "a"), describe(layerType, []byte("xy")), source.Range{})
			if err != nil {
				return err
			}
			defer body.Close()
			for buf := make([]byte, 1); err == nil; {
				_, err = body.Read(buf)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var got progress.Event
			r := open(t, registry.Options{StallTimeout: time.Minute, Progress: func(e progress.Event) {
				got = e
				cancel()
			}})
			err := ask(ctx, r)
			if err == nil || got.Kind != progress.Stalled || got.Host != srv.host() || got.Wait != 3*time.Second {
				t.Errorf("got %+v and %v, want the report of a stall", got, err)
			}
		})
	}
}

// The time for which the own rate of requests holds one back is not the host's.
func TestSilenceOfTheOwnRate(t *testing.T) {
	pulltest.Long(t)
	t.Parallel()
	srv := serve(t, manifest(manifestJSON(t)))
	var e events
	r := open(t, registry.Options{RequestsPerSecond: 0.3, StallTimeout: time.Minute, Progress: e.add, Hosts: hosts.Options{PlainHTTP: true}})
	for range 2 { // the second one after more than three seconds
		if _, err := r.Resolve(t.Context(), srv.ref(t, "a:1")); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.kinds(); len(got) > 0 {
		t.Errorf("got events %q, want none", got)
	}
}
