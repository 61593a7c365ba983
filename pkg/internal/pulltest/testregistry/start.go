package testregistry

import (
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// Start starts a registry that ends with the test.
func Start(t testing.TB, o Options) *Registry {
	t.Helper()
	reg, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, reg)
}

// StartMirror starts a registry that ends with the test over the content of r.
func StartMirror(t testing.TB, r *Registry, o Options) *Registry {
	t.Helper()
	m, err := r.mirror(o)
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, m)
}

func closing(t testing.TB, r *Registry) *Registry {
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("closing registry: %v", err)
		}
	})
	return r
}

// Push stores the image in the registry under "repository:tag" and returns its
// full reference.
func Push(t testing.TB, r *Registry, name string, img *pulltest.Image) string {
	t.Helper()
	if err := r.Push(name, img); err != nil {
		t.Fatal(err)
	}
	return r.Ref(name)
}
