package layer_test

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// TestL11FolderListedOftenTakesLittle lists two folders 150,000 times each. Of
// each the last times count.
func TestL11FolderListedOftenTakesLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds, which is left out with -short")
	}
	const times = 150_000
	root := t.TempDir()
	var peak uint64
	r, w := io.Pipe()
	go func() {
		all := tar.NewWriter(w)
		for i := range times {
			for _, name := range []string{"one", "two"} {
				if err := all.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Uid: os.Geteuid(), Gid: os.Getegid(), ModTime: stamp(i)}); err != nil {
					return // the reader has gone
				}
			}
			if i%50_000 == 49_999 {
				var now runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
			}
		}
		w.CloseWithError(all.Close())
	}()
	if _, err := layer.ApplyTo(t.Context(), root, r, layer.Options{Whiteouts: layer.Overlay}); err != nil {
		t.Fatal(err)
	}
	if peak > 12<<20 {
		t.Errorf("took %d bytes of memory, want at most 12 MiB", peak)
	}
	for _, name := range []string{"one", "two"} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.ModTime().Sub(stamp(times-1)).Abs() > time.Second {
			t.Errorf("%s: got %v, %v, want the time %s of the last entry", name, info, err, stamp(times-1))
		}
	}
}

// TestL11TimesOfFoldersListedAgain: where names lead to one folder, the last
// entry counts, whichever name it has and however often the others were listed.
func TestL11TimesOfFoldersListedAgain(t *testing.T) {
	entries := []entry{dir("a", at(stamp(1)), mine()), symlink("l", ".", mine())}
	for range 30_000 {
		entries = append(entries, dir("l/a", at(stamp(3)), mine()), dir("a", at(stamp(4)), mine()))
	}
	root := t.TempDir()
	if _, err := layer.ApplyTo(t.Context(), root, strings.NewReader(string(archive(t, entries...))), layer.Options{Whiteouts: layer.Overlay}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, "a"))
	if err != nil || info.ModTime().Sub(stamp(4)).Abs() > time.Microsecond {
		t.Errorf("got %v, %v, want the time of the last entry, %s", info, err, stamp(4))
	}
}
