//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// namespaceMark marks a run in the user namespace that the first run made.
const namespaceMark = "CONTAINERD_PULL_QUICKSTART_USERNS"

const privilegeHint = "hint: run it as root, in a container with CAP_SYS_ADMIN, or allow user namespaces"

// mayMount reports whether this process may mount, which unpacking needs. In
// many containers not even root may.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// enterNamespace runs this program again as root of a user namespace, with
// mounts of its own. The only user there is the caller, which is why the sample
// image has no other owners. It returns the exit code.
func enterNamespace(ctx context.Context, args []string, out, errOut io.Writer) int {
	if os.Getenv(namespaceMark) != "" {
		fmt.Fprintln(errOut, "quickstart: mounting is not allowed in the user namespace")
		fmt.Fprintln(errOut, privilegeHint)
		return 1
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), namespaceMark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second // for the clean-up
	err := cmd.Run()
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		return cmd.ProcessState.ExitCode()
	}
	fmt.Fprintf(errOut, "quickstart: entering a user namespace: %v\n", err)
	fmt.Fprintln(errOut, privilegeHint)
	return 1
}

// chooseSnapshotter returns overlayfs if it can be mounted below dir, else
// native, which copies, and why.
func chooseSnapshotter(dir string) (name, reason string, err error) {
	probe, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return "", "", fmt.Errorf("probing for overlayfs: %w", err)
	}
	err = mountOverlay(probe)
	if cleanErr := os.RemoveAll(probe); cleanErr != nil {
		return "", "", fmt.Errorf("removing the probe for overlayfs: %w", cleanErr)
	}
	if err != nil {
		return store.Native, fmt.Sprintf("overlayfs cannot be mounted here (%v), so each layer is a copy", err), nil
	}
	return store.Overlayfs, "", nil
}

// mountOverlay mounts an overlay in dir and unmounts it again.
func mountOverlay(dir string) error {
	var options string
	for _, name := range []string{"lower", "upper", "work"} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		options += fmt.Sprintf(",%sdir=%s", name, path)
	}
	if os.Getenv(namespaceMark) != "" {
		options += ",userxattr"
	}
	target := filepath.Join(dir, "lower")
	if err := unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, options[1:]); err != nil {
		return err
	}
	return unix.Unmount(target, unix.MNT_DETACH)
}
