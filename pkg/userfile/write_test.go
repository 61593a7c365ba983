package userfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

func itoa(fd uintptr) string { return strconv.Itoa(int(fd)) }

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.toml")
	for _, text := range []string{"first", "second"} {
		must(t, userfile.Write(path, []byte(text), 0o640))
		if got := read(t, path); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode: got %v, %v; want 0640", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("got %d files, want no temporary one", len(left))
	}
	must(t, os.Chmod(path, 0o600))
	must(t, userfile.Write(path, nil, 0o644))
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of what was private: got %v, %v; want 0600", info.Mode(), err)
	}
	if err := userfile.Write(filepath.Join(path, "y"), nil, 0o644); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: got %v", err)
	}
	if err := userfile.Write(filepath.Join(filepath.Dir(path), "none", "y"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no folder: got %v", err)
	}
	if err := userfile.Write(filepath.Dir(path), nil, 0o644); !errors.Is(err, unix.EISDIR) {
		t.Errorf("onto a folder: got %v", err)
	}
}

// TestWriteKeepsLinks: of a chain of links, also one that leads to a file that is
// not there yet, all stay (docker/cli#2627).
func TestWriteKeepsLinks(t *testing.T) {
	for _, target := range []string{"there", "not-yet"} {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, errors.Join(os.Mkdir(at("dots"), 0o755), os.WriteFile(at("dots/there"), []byte("old"), 0o600)))
		must(t, errors.Join(os.Symlink(at("dots"), at("folder")), os.Symlink(target, at("dots/second")), os.Symlink("folder/second", at("first"))))
		must(t, userfile.Write(at("first"), []byte("new"), 0o644))
		if got := read(t, at("dots/"+target)); got != "new" {
			t.Errorf("%s: got %q", target, got)
		}
		for _, name := range []string{"first", "folder", "dots/second"} {
			if info, err := os.Lstat(at(name)); err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("%s is a link no more: %v, %v", name, info, err)
			}
		}
	}
}

// TestWriteOpenThings: devices, pipes and descriptors are written to and stay what they
// are (bazel#31038), and what was written to a descriptor before stays.
func TestWriteOpenThings(t *testing.T) {
	dir := t.TempDir()
	must(t, userfile.Write("/dev/null", []byte("x"), 0o644))
	if err := userfile.Write("/dev/full", []byte("x"), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("/dev/full: got %v", err)
	}
	f, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	defer f.Close()
	_, err = f.WriteString("first ")
	must(t, err)
	must(t, os.Symlink("/proc/self/fd/"+itoa(f.Fd()), filepath.Join(dir, "link")))
	for _, path := range []string{"/dev/fd/" + itoa(f.Fd()), "/proc/self/fd/" + itoa(f.Fd()), filepath.Join(dir, "link")} {
		must(t, userfile.Write(path, []byte("more "), 0o644))
	}
	if got := read(t, f.Name()); got != "first more more more " {
		t.Errorf("got %q", got)
	}
	pipe := filepath.Join(dir, "pipe")
	must(t, unix.Mkfifo(pipe, 0o600))
	got := make(chan string, 1)
	go func() {
		r, _ := os.Open(pipe)
		text, _ := io.ReadAll(r)
		got <- string(text)
	}()
	must(t, userfile.Write(pipe, []byte("through"), 0o644))
	if text := <-got; text != "through" {
		t.Errorf("pipe: got %q", text)
	}
}

// TestWriteMountedFile: nothing can be renamed over a file that is mounted into a
// container, so that it is written as a whole where it is.
func TestWriteMountedFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	outside, inside := filepath.Join(dir, "outside"), filepath.Join(dir, "inside")
	for _, path := range []string{outside, inside} {
		if err := os.WriteFile(path, []byte("a longer text from before"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(outside, inside, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(inside, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := userfile.CheckWrite(inside); err != nil {
		t.Errorf("CheckWrite: got %v, want it to be possible", err)
	}
	if err := userfile.Write(inside, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "new" {
		t.Errorf("got %q, %v, want what was written", got, err)
	}
}

// TestWriteForeignLinks: links of other users are not followed, at whichever level
// they are.
func TestWriteForeignLinks(t *testing.T) {
	for name, c := range map[string]struct {
		changes     []change
		root, alice bool // whether the links are followed
	}{
		"root's link":                {nil, true, true},
		"alice's link in hers":       {[]change{{"home", alice, 0}, {"home/link", alice, 0}}, false, true},
		"alice's link in root's":     {[]change{{"home/link", alice, 0}}, false, true},
		"bob's link in his":          {[]change{{"home", bob, 0}, {"home/link", bob, 0}}, false, true},
		"bob's link in alice's":      {[]change{{"home", alice, 0}, {"home/link", bob, 0}}, false, false},
		"bob's link in sticky":       {[]change{{"home", root, 0o1777}, {"home/link", bob, 0}}, false, false},
		"bob's link in a folder 777": {[]change{{"home", bob, 0o777}, {"home/link", bob, 0}}, false, false},
	} {
		for _, last := range []bool{true, false} {
			dir := home(t)
			to, path := "dir/file", "home/link"
			if !last {
				to, path = "dir", "home/link/file"
			}
			must(t, os.Symlink(to, filepath.Join(dir, "home/link")))
			for _, ch := range c.changes {
				ch.apply(t, dir)
			}
			for uid, want := range map[int]bool{root: c.root, alice: c.alice} {
				err := userfile.AsUser(uid).Link(filepath.Join(dir, path))
				if _, foreign := errors.AsType[*userfile.ForeignLink](err); foreign == want || (err != nil) == want {
					t.Errorf("%s as uid %d, last %v: got %v, want it followed: %v", name, uid, last, err, want)
				}
			}
			if !last {
				err := userfile.MakeFolder(filepath.Join(dir, "home/link/new/deeper/file"))
				_, statErr := os.Stat(filepath.Join(dir, "home/dir/new/deeper"))
				if (err == nil) != c.root || (statErr == nil) != c.root {
					t.Errorf("%s: making a folder gave %v and %v, want it made: %v", name, err, statErr, c.root)
				}
			}
			err := userfile.Write(filepath.Join(dir, path), []byte("new"), 0o644)
			if (err == nil) != c.root || (read(t, filepath.Join(dir, "home/dir/file")) == "new") != c.root {
				t.Errorf("%s, last %v: writing gave %v, want it written: %v", name, last, err, c.root)
			}
		}
	}
}

// TestCheckWrite: what Write would refuse is known beforehand.
func TestCheckWrite(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "there"), nil, 0o600))
	for path, want := range map[string]error{
		filepath.Join(dir, "there"):  nil,
		filepath.Join(dir, "new"):    nil,
		filepath.Join(dir, "no/new"): fs.ErrNotExist,
		dir:                          unix.EISDIR,
		"/dev/null":                  nil,
		"/proc/self/fd/1":            nil,
	} {
		if err := userfile.CheckWrite(path); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}
