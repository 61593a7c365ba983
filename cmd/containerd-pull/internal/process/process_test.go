package process_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/process"
)

func TestOwnProcess(t *testing.T) {
	own := open(t, os.Getpid())
	for _, kind := range []string{"user", "net"} {
		got, err := own.Namespace(kind)
		want, ownErr := process.OwnNamespace(kind)
		if err != nil || ownErr != nil || got != want {
			t.Errorf("%s: got %q, %v and %q, %v", kind, got, err, want, ownErr)
		}
	}
	fd, err := own.OpenNamespace("user")
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestEndedProcess(t *testing.T) {
	cmd := start(t, "cat")
	ended := open(t, cmd.Process.Pid)
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := ended.Namespace("user"); err == nil {
		t.Error("got a namespace of a process that has ended")
	}
	if _, err := ended.IsChildOf(t.TempDir()); err == nil {
		t.Error("judged a process that has ended")
	}
	if p, err := process.Open(-1); err == nil {
		p.Close()
		t.Error("opened a process that cannot be")
	}
}

// TestL9ChildOfAnother: this test is no RootlessKit, until it holds the lock of one.
func TestL9ChildOfAnother(t *testing.T) {
	child := open(t, start(t, "cat").Process.Pid)
	dir := t.TempDir()
	if why, err := child.IsChildOf(dir); err != nil || !strings.HasSuffix(why, "is not rootlesskit") {
		t.Errorf("got %q, %v for a child of this test", why, err)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	// The namespace of the machine belongs to root, that of a container may as well.
	want := ""
	if os.Geteuid() != 0 {
		want = "its user namespace belongs to uid 0"
	}
	if why, err := child.IsChildOf(dir); err != nil && !errors.Is(err, unix.EPERM) || err == nil && why != want {
		t.Errorf("got %q, %v, want %q", why, err, want)
	}
	if why, err := open(t, os.Getpid()).IsChildOf(t.TempDir()); err != nil || why == "" {
		t.Errorf("got %q, %v for this test itself", why, err)
	}
}

func open(t *testing.T, pid int) *process.Process {
	t.Helper()
	p, err := process.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// start starts a program that ends with its input.
func start(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return cmd
}
