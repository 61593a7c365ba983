package registry_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// failed is an error of a host that may get better.
func failed(t *testing.T, o registry.Options, handler http.HandlerFunc) (*registry.Registry, error) {
	t.Helper()
	srv := serve(t, handler)
	r := open(t, o)
	_, err := r.Open(t.Context(), srv.ref(t, "a"), describe(layerType, []byte("x")), source.Range{})
	if err == nil {
		t.Fatal("got no error, want one")
	}
	return r, err
}

func TestBackoffBudget(t *testing.T) {
	r, cause := failed(t, registry.Options{Retry: registry.Retry{Count: 2, Delay: time.Millisecond}}, status(503))
	for n := 1; n <= 2; n++ {
		if err := r.Backoff(t.Context(), n, cause); err != nil {
			t.Errorf("try %d: got %v, want another one", n, err)
		}
	}
	if err := r.Backoff(t.Context(), 3, cause); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	none := open(t, registry.Options{Retry: registry.Retry{Count: -1}})
	if err := none.Backoff(t.Context(), 1, cause); !errors.Is(err, cause) {
		t.Errorf("got %v, want no retry at all", err)
	}
}

func TestBackoffGrows(t *testing.T) {
	var e events
	r, cause := failed(t, registry.Options{Progress: e.add, Retry: registry.Retry{Count: 20}}, status(503))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Backoff(ctx, 1, cause); !errors.Is(err, context.Canceled) || len(e.list) != 0 {
		t.Errorf("got %v and %d events, want the end of the context and none", err, len(e.list))
	}
	for try, most := range map[int]time.Duration{1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 5: 4 * time.Second, 6: 8 * time.Second, 19: 8 * time.Second} {
		e.list = nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := r.Backoff(ctx, try, cause); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("try %d: got %v, want the deadline", try, err)
		}
		cancel()
		if len(e.list) != 1 || e.list[0].Wait < most/2 || e.list[0].Wait > most || e.list[0].Attempt != try {
			t.Errorf("try %d: got %+v, want a wait between %s and %s", try, e.list, most/2, most)
		}
	}
}

func TestBackoffHonoursRetryAfter(t *testing.T) {
	var e events
	r, cause := failed(t, registry.Options{Progress: e.add}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.Backoff(ctx, 1, cause); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if len(e.list) != 1 || e.list[0].Wait != 17*time.Second {
		t.Errorf("got %+v, want a wait of 17s", e.list)
	}
}

func TestRetryable(t *testing.T) {
	for _, err := range []error{nil, errors.New("anything"), context.Canceled, errdefs.ErrUnavailable} {
		if registry.Retryable(err) {
			t.Errorf("got %v as retryable, want only those of hosts", err)
		}
	}
}

func TestNameThatDoesNotExist(t *testing.T) {
	r := open(t, registry.Options{})
	_, err := r.Resolve(t.Context(), parse(t, "registry.invalid/a"))
	if !errdefs.IsUnavailable(err) || registry.Reason(err) != "dns" {
		t.Errorf("got %v, reason %q, want a DNS failure", err, registry.Reason(err))
	}
}
