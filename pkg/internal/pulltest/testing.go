package pulltest

import "testing"

// StartRegistry starts a registry that ends with the test.
func StartRegistry(t testing.TB, o RegistryOptions) *Registry {
	t.Helper()
	return closing(t, Must(NewRegistry(o))(t))
}

// StartMirror starts a registry that ends with the test over the content of r.
func StartMirror(t testing.TB, r *Registry, o RegistryOptions) *Registry {
	t.Helper()
	return closing(t, Must(r.Mirror(o))(t))
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
func Push(t testing.TB, r *Registry, name string, img *Image) string {
	t.Helper()
	if err := r.Push(name, img); err != nil {
		t.Fatal(err)
	}
	return r.Ref(name)
}

// Must ends the test if a builder returned an error:
//
//	img := pulltest.Must(pulltest.SmallImage(pulltest.Gzip))(t)
func Must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
