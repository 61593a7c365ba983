package pulltest

import (
	"testing"

	"github.com/containerd/log"
)

// Tests report what goes wrong themselves. Containerd's warnings, that a file
// system has no fs-verity for example, would only hide that.
var _ = log.SetLevel("error")

// possible panics with an error of what is built in memory, which only a mistake
// in the test itself can cause.
func possible(err error) {
	if err != nil {
		panic(err)
	}
}

// Must ends the test if a call returned an error. Go passes the results of a call
// on only if they are all of the arguments, which is why t has a list of its own:
//
//	text := pulltest.Must(os.ReadFile(path))(t)
func Must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
