package layer_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// smallFiles is a layer like that of a language's packages: 20 000 files of a
// few kilobytes in 2 500 directories.
func smallFiles(b *testing.B) []byte {
	b.Helper()
	body := strings.Repeat("The quick brown fox jumps over the lazy dog.\n", 400)
	var entries []entry
	for i := range 2500 {
		name := fmt.Sprintf("usr/lib/modules/%02d/package-%d", i%50, i)
		entries = append(entries, dir(name, mine()))
		for j := range 8 {
			size := (i*8+j)*7919%len(body) + 1
			entries = append(entries, file(fmt.Sprintf("%s/file%d.js", name, j), body[:size], mine()))
		}
	}
	return archive(b, entries...)
}

// BenchmarkApply compares Apply, to a folder and to an EROFS image, with containerd's
// on small files and, if LAYER_BENCH names one, on a real layer as an uncompressed tar
// file. What it measures is the file system of TMPDIR as much as the program: use a
// tmpfs or a fresh ext4.
func BenchmarkApply(b *testing.B) {
	needRoot(b)
	layers := map[string][]byte{"small": smallFiles(b)}
	if name := os.Getenv("LAYER_BENCH"); name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		layers[filepath.Base(name)] = data
	}
	for name, data := range layers {
		b.Run(name+"/layer", func(b *testing.B) {
			measure(b, data, func(root string) error {
				_, err := layer.ApplyTo(b.Context(), root, bytes.NewReader(data), layer.Options{})
				return err
			})
		})
		b.Run(name+"/erofs", func(b *testing.B) {
			measure(b, data, func(root string) error {
				return writeImage(b.Context(), filepath.Join(root, "layer.erofs"), data, layer.Options{})
			})
		})
		b.Run(name+"/containerd", func(b *testing.B) {
			sc := newScene(b, topless)
			measure(b, data, func(root string) error {
				return applyOracle(b, root, bytes.NewReader(data), sc.oracleOptions()...)
			})
		})
	}
}

func measure(b *testing.B, data []byte, apply func(root string) error) {
	b.Helper()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		root, err := os.MkdirTemp(b.TempDir(), "root")
		if err != nil {
			b.Fatal(err)
		}
		before := cpuTime(b)
		b.StartTimer()
		if err := apply(root); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cpu += cpuTime(b) - before
		if err := os.RemoveAll(root); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
}

// cpuTime of the process, which other programs disturb less than the clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
}
