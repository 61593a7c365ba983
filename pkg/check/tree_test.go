package check_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// grow fills a folder with one file of each type.
func grow(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "d/file"), []byte("content"), 0o644))
	must(t, os.Link(filepath.Join(dir, "d/file"), filepath.Join(dir, "d/twin")))
	must(t, os.Symlink("file", filepath.Join(dir, "d/link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	return dir
}

// TestTree compares a folder with one of the same files, after each kind of
// damage.
func TestTree(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(dir string) error
		want []string
	}{
		"nothing": {func(string) error { return nil }, nil},
		"times": {func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "d/file"), pulltest.Epoch(), pulltest.Epoch())
		}, nil},
		"content": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/file"), []byte("CONTENT"), 0) },
			[]string{"/d/file: got other content of the same size", "/d/twin: got other content of the same size"}},
		"size": {func(dir string) error { return os.Truncate(filepath.Join(dir, "d/file"), 3) },
			[]string{"/d/file: got 3 bytes, want 7", "/d/twin: got 3 bytes, want 7"}},
		"mode":    {func(dir string) error { return os.Chmod(filepath.Join(dir, "d"), 0o700) }, []string{"/d: got mode 0700, want 0755"}},
		"removed": {func(dir string) error { return os.Remove(filepath.Join(dir, "fifo")) }, []string{"/fifo: a FIFO is missing"}},
		"added": {func(dir string) error { return os.Mkdir(filepath.Join(dir, "new"), 0o755) },
			[]string{"/new: a directory that is not in the layer"}},
		"type": {func(dir string) error {
			_ = os.Remove(filepath.Join(dir, "fifo"))
			return os.WriteFile(filepath.Join(dir, "fifo"), nil, 0o600)
		}, []string{"/fifo: got a file, want a FIFO"}},
		"link": {func(dir string) error {
			_ = os.Remove(filepath.Join(dir, "d/link"))
			return os.Symlink("twin", filepath.Join(dir, "d/link"))
		}, []string{`/d/link: got link to "twin", want "file"`}},
		"hard link": {func(dir string) error { return os.Remove(filepath.Join(dir, "d/twin")) },
			[]string{"/d/file: got 1 hard links, want 2", "/d/twin: a file is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := grow(t), grow(t)
			must(t, tt.do(got))
			all, err := check.Differences(got, want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, all); diff != "" {
				t.Errorf("differences differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTreeOfManyDifferences lists some and counts the rest.
func TestTreeOfManyDifferences(t *testing.T) {
	got, want := t.TempDir(), t.TempDir()
	for i := range 25 {
		must(t, os.WriteFile(filepath.Join(want, fmt.Sprintf("%02d", i)), nil, 0o600))
	}
	all, err := check.Differences(got, want)
	if err != nil || len(all) != 21 || !strings.HasPrefix(all[0], "/00: ") || all[20] != "5 more" {
		t.Errorf("got %q and %v, want 20 differences and a count", all, err)
	}
}
