package pulltest

import (
	"testing"

	"github.com/containerd/log"
)

// Tests report what goes wrong themselves. Containerd's warnings, that a file
// system has no fs-verity for example, would only hide that.
var _ = log.SetLevel("error")

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
