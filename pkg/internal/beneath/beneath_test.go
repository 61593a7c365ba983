package beneath_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

const other = 1234 // a user that is neither root nor this one

// do ends the test on any error.
func do(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// chain makes a/b/c in a new folder, with a file and a socket's stand-in in the last.
func chain(t *testing.T) (top string) {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	do(t, err, os.MkdirAll(filepath.Join(top, "a/b/c"), 0o755), os.WriteFile(filepath.Join(top, "a/b/c/file"), nil, 0o600))
	return top
}

// unsafe reports whether err blames the path at.
func unsafe(err error, at string) bool {
	var u *beneath.UnsafeError
	return errors.As(err, &u) && u.Path == at && strings.Contains(u.Hint(), at)
}

// TestEachFolderOnTheWay spoils one folder after the other: wherever another user
// could put something else, nothing is opened.
func TestEachFolderOnTheWay(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for name, spoil := range map[string]func(path string) error{
		"of another user":       func(p string) error { return os.Chown(p, other, 0) },
		"writable by others":    func(p string) error { return os.Chmod(p, 0o757) },
		"writable by all":       func(p string) error { return os.Chmod(p, 0o777) },
		"writable by a group":   func(p string) error { return errors.Join(os.Chown(p, 0, other), os.Chmod(p, 0o775)) },
		"sticky, but another's": func(p string) error { return errors.Join(os.Chown(p, other, 0), os.Chmod(p, 0o777|fs.ModeSticky)) },
	} {
		for _, level := range []string{"a", "a/b", "a/b/c"} {
			top := chain(t)
			at := filepath.Join(top, level)
			do(t, spoil(at))
			if f, err := beneath.Root(filepath.Join(top, "a/b/c")); !unsafe(err, at) {
				t.Errorf("%s %s: got %v and %v from Root, want the folder blamed", level, name, f, err)
			}
			if err := beneath.Check(filepath.Join(top, "a/b/c/file")); !unsafe(err, at) {
				t.Errorf("%s %s: got %v from Check, want the folder blamed", level, name, err)
			}
			dir, err := beneath.Root(top)
			do(t, err)
			if f, err := beneath.Open(dir, "a/b/c"); !unsafe(err, at) {
				t.Errorf("%s %s: got %v and %v from Open, want the folder blamed", level, name, f, err)
			}
			do(t, dir.Close())
		}
	}
}

// TestHonestFolders are those of machines as they are.
func TestHonestFolders(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for name, make := range map[string]func(top string) error{
		"as they are":                 func(string) error { return nil },
		"closed":                      func(top string) error { return os.Chmod(filepath.Join(top, "a"), 0o700) },
		"writable by root's group":    func(top string) error { return os.Chmod(filepath.Join(top, "a/b"), 0o775) },
		"sticky":                      func(top string) error { return os.Chmod(filepath.Join(top, "a"), 0o777|fs.ModeSticky) },
		"a link of root's, absolute":  func(top string) error { return relink(top, filepath.Join(top, "b")) },
		"a link of root's, relative":  func(top string) error { return relink(top, "../a/../b") },
		"a link of root's, in sticky": func(top string) error { return errors.Join(os.Chmod(top, 0o777|fs.ModeSticky), relink(top, "../b/.")) },
	} {
		top := chain(t)
		do(t, make(top))
		want, err := os.Stat(filepath.Join(top, "a/b/c"))
		do(t, err)
		f, err := beneath.Root(filepath.Join(top, "a//b/./c/"))
		if err != nil {
			t.Errorf("%s: got %v, want the folder", name, err)
			continue
		}
		if got, err := f.Stat(); err != nil || !os.SameFile(got, want) {
			t.Errorf("%s: got another folder, and %v", name, err)
		}
		if got, err := os.Stat(beneath.Path(f)); err != nil || !os.SameFile(got, want) {
			t.Errorf("%s: got another folder by its path, and %v", name, err)
		}
		file, err := beneath.File(f, "file", os.O_RDWR)
		if err != nil {
			t.Errorf("%s: got %v, want the file", name, err)
		}
		do(t, file.Close(), f.Close(), beneath.Check(filepath.Join(top, "a/b/c/file")))
	}
}

// relink moves a/b to b and puts a link in its place.
func relink(top, target string) error {
	return errors.Join(os.Rename(filepath.Join(top, "a/b"), filepath.Join(top, "b")), os.Symlink(target, filepath.Join(top, "a/b")))
}

// TestLinksOfOthers are not followed on the way to a root, and beneath one none is.
func TestLinksOfOthers(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	top := chain(t)
	do(t, os.Chmod(filepath.Join(top, "a"), 0o777|fs.ModeSticky), relink(top, "../b"), os.Lchown(filepath.Join(top, "a/b"), other, other))
	if f, err := beneath.Root(filepath.Join(top, "a/b/c")); !unsafe(err, filepath.Join(top, "a/b")) {
		t.Errorf("got %v and %v by a link of another user, want it blamed", f, err)
	}
	for _, level := range []string{"a", "a/b", "a/b/c"} {
		for _, target := range []string{"elsewhere", "/etc", "."} {
			top := chain(t)
			at := filepath.Join(top, level)
			do(t, os.Mkdir(filepath.Join(filepath.Dir(at), "elsewhere"), 0o755), os.RemoveAll(at), os.Symlink(target, at))
			dir, err := beneath.Root(top)
			do(t, err)
			if f, err := beneath.Open(dir, "a/b/c"); !errors.Is(err, unix.ELOOP) {
				t.Errorf("%s -> %s: got %v and %v, want no link followed", level, target, f, err)
			}
			do(t, dir.Close())
		}
	}
}

// TestProcesses: a socket may be named through a process of this user or of root's,
// in whose mount namespace it lies, but no folder of a daemon.
func TestProcesses(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	top := chain(t)
	if f, err := beneath.Root("/proc/thread-self/root" + top); !errors.Is(err, unix.ELOOP) {
		t.Errorf("got %v and %v, want no root through a process", f, err)
	}
	for _, link := range []string{"/proc/self/root", "/proc/thread-self/root"} {
		if err := beneath.Check(link + top + "/a/b/c/file"); err != nil {
			t.Errorf("got %v by %s, want the file", err, link)
		}
		do(t, os.Chmod(filepath.Join(top, "a"), 0o777))
		if err := beneath.Check(link + top + "/a/b/c/file"); !unsafe(err, link+top+"/a") {
			t.Errorf("got %v by %s, want the folder blamed", err, link)
		}
		do(t, os.Chmod(filepath.Join(top, "a"), 0o755))
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	do(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	proc := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
	if err := beneath.Check(proc + "/root" + top + "/a/b/c/file"); !unsafe(err, proc) {
		t.Errorf("got %v through a process of another user, want it blamed", err)
	}
}

// TestNamesStayBeneath: a name that leads out of a folder leads nowhere.
func TestNamesStayBeneath(t *testing.T) {
	top := chain(t)
	dir, err := beneath.Root(filepath.Join(top, "a"))
	do(t, err)
	defer dir.Close()
	for _, name := range []string{"..", "../a", "b/../../a", "/etc", "/", "../../../etc", ""} {
		if f, err := beneath.Sub(dir, name); err == nil {
			t.Errorf("got %v for the name %q, want an error", f.Name(), name)
		}
		if f, err := beneath.File(dir, name, os.O_RDONLY); err == nil {
			t.Errorf("got %v for the file %q, want an error", f.Name(), name)
		}
		if f, err := beneath.Open(dir, name); name != "" && err == nil {
			t.Errorf("got %v for the path %q, want an error", f.Name(), name)
		}
	}
}

// TestOnlyFilesAreFiles: what is no regular file is not even opened.
func TestOnlyFilesAreFiles(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	top := chain(t)
	in := func(name string) string { return filepath.Join(top, name) }
	do(t, unix.Mkfifo(in("pipe"), 0o600), os.Symlink("a/b/c/file", in("link")), os.WriteFile(in("foreign"), nil, 0o600),
		os.Chown(in("foreign"), other, 0), unix.Mknod(in("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
	dir, err := beneath.Root(top)
	do(t, err)
	defer dir.Close()
	for _, name := range []string{"pipe", "link", "foreign", "device", "a", "absent"} {
		if f, err := beneath.File(dir, name, os.O_RDONLY); err == nil {
			t.Errorf("got %v, want no %s opened", f.Name(), name)
		}
		if f, err := beneath.Sub(dir, name); name != "a" && err == nil {
			t.Errorf("got %v, want no %s taken for a folder", f.Name(), name)
		}
	}
	if f, err := beneath.Root(in("a/b/c/file")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("got %v and %v, want a file to be no root", f, err)
	}
	for _, name := range []string{"", "relative", "a/b"} {
		if f, err := beneath.Root(name); err == nil {
			t.Errorf("got %v for %q, want only absolute paths", f, name)
		}
	}
}

// TestReplacedMeanwhile keeps what was opened, whatever is put in its place.
func TestReplacedMeanwhile(t *testing.T) {
	top := chain(t)
	dir, err := beneath.Root(filepath.Join(top, "a/b"))
	do(t, err)
	defer dir.Close()
	do(t, os.Rename(filepath.Join(top, "a"), filepath.Join(top, "moved")), os.Symlink("/etc", filepath.Join(top, "a")))
	f, err := beneath.Open(dir, "c")
	do(t, err)
	defer f.Close()
	do(t, os.WriteFile(filepath.Join(beneath.Path(f), "new"), nil, 0o600))
	if _, err := os.Stat(filepath.Join(top, "moved/b/c/new")); err != nil {
		t.Errorf("got %v, want the file in the folder that was opened", err)
	}
}

// TestLoop ends.
func TestLoop(t *testing.T) {
	top := chain(t)
	do(t, os.Symlink("loop", filepath.Join(top, "loop")))
	if f, err := beneath.Root(filepath.Join(top, "loop")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("got %v and %v, want an end", f, err)
	}
}

// TestOpenAsTheKernelDoes goes along random paths in random trees of folders, links
// and files: what is opened is what openat2 opens that may not leave the folder and
// follows no link.
func TestOpenAsTheKernelDoes(t *testing.T) {
	dir, err := beneath.Root(plant(t))
	do(t, err)
	defer dir.Close()
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if fd, err := unix.Openat2(int(dir.Fd()), ".", &how); err != nil {
		t.Skipf("the kernel has no openat2: %v", err)
	} else {
		do(t, unix.Close(fd))
	}
	opened := 0
	for seed := range uint64(5000) {
		name := walk(rand.New(rand.NewPCG(seed, 1)))
		// openat2 goes up and comes back; here a path is made clean first.
		fd, kernel := unix.Openat2(int(dir.Fd()), path.Clean(name), &how)
		f, err := beneath.Open(dir, name)
		if (err == nil) != (kernel == nil) {
			t.Errorf("%q: got error %v, the kernel %v", name, err, kernel)
		}
		if err == nil && kernel == nil {
			opened++
			var got, want unix.Stat_t
			do(t, unix.Fstat(int(f.Fd()), &got), unix.Fstat(fd, &want))
			if got.Ino != want.Ino || got.Dev != want.Dev {
				t.Errorf("%q: got another folder than the kernel", name)
			}
		}
		if kernel == nil {
			do(t, unix.Close(fd))
		}
		if err == nil {
			do(t, f.Close())
		}
	}
	if opened < 100 {
		t.Errorf("got only %d paths that lead anywhere", opened)
	}
}

// plant makes a tree in which every folder has a, b and c: folders, and on each level
// another of them a link or a file.
func plant(t *testing.T) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	do(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	targets := []string{".", "..", "../..", "/", "/etc", top, "a", "b/c", "../c"}
	var grow func(dir string, depth int)
	grow = func(dir string, depth int) {
		for _, name := range []string{"a", "b", "c"} {
			full := filepath.Join(dir, name)
			switch r.IntN(6) {
			case 0:
				do(t, os.Symlink(targets[r.IntN(len(targets))], full))
			case 1:
				do(t, os.WriteFile(full, nil, 0o600))
			default:
				do(t, os.Mkdir(full, 0o755))
				if depth > 0 {
					grow(full, depth-1)
				}
			}
		}
	}
	grow(top, 3)
	return top
}

// walk is a path of up to five parts.
func walk(r *rand.Rand) string {
	parts := []string{"a", "b", "c", "a", "b", "c", "a", "b", ".", "..", "", "absent", "etc"}
	name := ""
	for range 1 + r.IntN(5) {
		name += parts[r.IntN(len(parts))] + "/"
	}
	return name[:len(name)-r.IntN(2)]
}
