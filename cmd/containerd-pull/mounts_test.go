package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// withMounts reports whether the test goes on here, as root, because unpacking
// mounts snapshots. For an ordinary user it runs the test again as root of a
// user namespace of its own, whose only user is the caller, or skips it where
// there is no such namespace.
func withMounts(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		return true
	}
	probe := inUserNamespace(t, "mount", "-t", "tmpfs", "none", t.TempDir())
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("needed: root, or a user namespace that may mount: %v: %s", err, out)
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	out, err := inUserNamespace(t, "/proc/self/exe", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("as root of a user namespace: %v\n%s", err, out)
	}
	t.Logf("as root of a user namespace:\n%s", out)
	return false
}

func inUserNamespace(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), ordinaryUser+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	return cmd
}

// ordinaryUser marks the environment of a test that is root of its user
// namespace only, and as weak as its user outside.
const ordinaryUser = "TEST_ORDINARY_USER"

// realRoot reports whether the test may do everything.
func realRoot() bool { return os.Geteuid() == 0 && os.Getenv(ordinaryUser) == "" }

// long skips a test of more than half a second if the tests run with -short.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes more than half a second, which is left out with -short")
	}
}
