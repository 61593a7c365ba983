// Package golden compares what tests make with files of the repository, and
// writes those files if the tests run with -update, as go generate does.
package golden

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing with them")

// Updating reports whether the tests run with -update.
func Updating() bool { return *update }

// File compares got with the file, or writes it there with -update.
func File(t testing.TB, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s is not what the program makes, go generate ./... writes it anew (-want +got):\n%s", path, diff)
	}
}
