package trust_test

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// TestRule7VerifiersThatSayTooMuch has programs of verifiers write 300 MB to
// each of their streams.
func TestRule7VerifiersThatSayTooMuch(t *testing.T) {
	for stream, redirect := range map[string]string{"stdout": "", "stderr": " >&2"} {
		dir := t.TempDir()
		if err := pulltest.WriteProgram(filepath.Join(dir, "flood"), "#!/bin/sh\nhead -c 300000000 /dev/zero"+redirect+"\n", 0o755); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		judged, err := trust.Bindir{Dir: dir, Max: -1, Timeout: 30 * time.Second}.Verify(t.Context(), ref(t, "app:1"), target())
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 || len(judged.Reason) > 64<<10 {
			t.Errorf("%s: got %v, a reason of %d bytes and %d bytes of memory, want little of both", stream, err, len(judged.Reason), took)
		}
	}
}
