package inflate_test

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// TestAllocs: a Reader that is used again allocates nothing.
func TestAllocs(t *testing.T) {
	data := gzipOf(randomStream(1))
	z, src := inflate.NewReader(nil), bytes.NewReader(nil)
	buf := make([]byte, inflate.MinBufferSize)
	for name, read := range map[string]func() error{
		"WriteTo": func() error { _, err := z.WriteTo(io.Discard); return err },
		"Fill": func() error {
			for {
				if _, err := z.Fill(buf); err != nil {
					return ignoreEOF(err)
				}
			}
		},
	} {
		got := testing.AllocsPerRun(10, func() {
			src.Reset(data)
			z.Reset(src)
			if err := read(); err != nil {
				t.Error(err)
			}
		})
		if got != 0 {
			t.Errorf("%s: got %v allocations per stream, want 0", name, got)
		}
	}
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// TestMemory: what a Reader takes does not depend on its input. A member of
// zeros is the worst there is: it grows by a factor of 1000.
func TestMemory(t *testing.T) {
	data := compress(t, 9, make([]byte, 16<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := inflate.NewReader(bytes.NewReader(data)).WriteTo(io.Discard)
	if err != nil || n != 16<<20 {
		t.Fatalf("got %d bytes, error %v, want %d", n, err, 16<<20)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("got %d bytes of memory, want at most 1 MiB", got)
	}
}
