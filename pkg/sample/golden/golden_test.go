package golden_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

// recorder is a test that only notes that it failed.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(_ string, a ...any) { r.failure, _ = a[1].(string) }

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &recorder{TB: t}
	golden.File(r, path, []byte("new\n"))
	if !strings.Contains(r.failure, "old") || !strings.Contains(r.failure, "new") {
		t.Errorf("got failure %q, want what differs", r.failure)
	}
	before := flag.Lookup("update").Value.String()
	t.Cleanup(func() { flag.Set("update", before) })
	flag.Set("update", "true")
	golden.File(t, path, []byte("new\n"))
	flag.Set("update", "false")
	golden.File(t, path, []byte("new\n"))
}
