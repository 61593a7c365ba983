package tree_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
)

// plant makes a small tree with one of each kind that needs no root.
func plant(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(root, "d"), 0o750),
		os.WriteFile(filepath.Join(root, "d", "file"), []byte("content"), 0o640),
		os.Link(filepath.Join(root, "d", "file"), filepath.Join(root, "d", "twin")),
		os.Symlink("file", filepath.Join(root, "d", "link")),
		unix.Mkfifo(filepath.Join(root, "fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	setTimes(t, root, pulltest.Epoch())
	return root
}

func setTimes(t *testing.T, root string, when time.Time) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ts := unix.NsecToTimespec(when.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	entries, err := tree.Read(plant(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 6 || entries[0].Path != "/" {
		t.Fatalf("got %v, want six entries from / on", entries)
	}
	file := tree.Find(t, entries, "/d/file")
	if file.Mode != unix.S_IFREG|0o640 || file.Size != 7 || file.Links != 2 || file.LinkedTo != "" ||
		file.Content != digest.FromString("content") || file.ModTime != pulltest.Epoch().UnixNano() {
		t.Errorf("got %+v, want the file as it was written", file)
	}
	if twin := tree.Find(t, entries, "/d/twin"); twin.LinkedTo != "/d/file" {
		t.Errorf("got %+v, want a link to /d/file", twin)
	}
	if link := tree.Find(t, entries, "/d/link"); link.Target != "file" || link.Content != "" {
		t.Errorf("got %+v, want a symbolic link to file", link)
	}
	if fifo := tree.Find(t, entries, "/fifo"); fifo.Mode != unix.S_IFIFO|0o600 {
		t.Errorf("got mode %o, want a FIFO", fifo.Mode)
	}
	if dir := tree.Find(t, entries, "/d"); dir.Mode != unix.S_IFDIR|0o750 || dir.Size != 0 || dir.Links != 0 {
		t.Errorf("got %+v, want a directory without size and links", dir)
	}
}

func TestReadAsRoot(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	root := plant(t)
	file := filepath.Join(root, "d", "file")
	for _, err := range []error{
		os.Lchown(file, 7, 8),
		unix.Lsetxattr(file, "trusted.test", []byte("a\x00b"), 0),
		unix.Mknod(filepath.Join(root, "dev"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	entries, err := tree.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if e := tree.Find(t, entries, "/d/file"); e.UID != 7 || e.GID != 8 || e.Xattrs["trusted.test"] != "a\x00b" {
		t.Errorf("got %+v, want owner 7:8 and an xattr", e)
	}
	if e := tree.Find(t, entries, "/dev"); e.Device != unix.Mkdev(1, 3) {
		t.Errorf("got device %d, want 1:3", e.Device)
	}
}

func TestDiffNamesEveryDifference(t *testing.T) {
	root := plant(t)
	want, err := tree.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := tree.Diff(want, want); diff != "" {
		t.Fatalf("got %q for equal trees, want nothing", diff)
	}
	for _, c := range []struct {
		name   string
		change func() error
		want   string
	}{
		{"mode", func() error { return os.Chmod(filepath.Join(root, "d"), 0o700) }, "/d differs"},
		{"content", func() error { return os.WriteFile(filepath.Join(root, "d", "file"), []byte("CONTENT"), 0) }, "/d/file differs"},
		{"time", func() error { return os.Chtimes(filepath.Join(root, "fifo"), time.Time{}, time.Now()) }, "ModTime"},
		{"addition", func() error { return os.Mkdir(filepath.Join(root, "new"), 0o700) }, "/new is there and should not be"},
		{"removal", func() error { return os.Remove(filepath.Join(root, "d", "link")) }, "/d/link is missing"},
		{"broken link", func() error {
			twin := filepath.Join(root, "d", "twin")
			if err := os.Remove(twin); err != nil {
				return err
			}
			return os.WriteFile(twin, []byte("CONTENT"), 0o640)
		}, "LinkedTo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			files, err := tree.Read(root)
			if err != nil {
				t.Fatal(err)
			}
			if got := tree.Diff(files, want); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

func TestDiffIsBounded(t *testing.T) {
	var want []tree.Entry
	for _, name := range strings.Split(strings.Repeat("x", 100), "") {
		want = append(want, tree.Entry{Path: "/" + strings.Repeat(name, len(want)+1)})
	}
	got := tree.Diff(nil, want)
	if n := strings.Count(got, "is missing"); n != 20 || !strings.Contains(got, "80 more of 100") {
		t.Errorf("got %d lines of %q, want 20 and the number of the rest", n, got)
	}
}

func TestReadMounted(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	root := plant(t)
	want, err := tree.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.ReadMounted(t.Context(), []mount.Mount{{Type: "bind", Source: root, Options: []string{"rbind", "ro"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := tree.Diff(got, want); diff != "" {
		t.Error(diff)
	}
}
