//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

const (
	// namespaceMark marks a run in a user namespace.
	namespaceMark = "CONTAINERD_PULL_QUICKSTART_USERNS"
	// inherited names the descriptors of namespaces that nsenter left open.
	inherited = "CONTAINERD_PULL_QUICKSTART_NAMESPACES"
)

const privilegeHint = "hint: run it as root, in a container with CAP_SYS_ADMIN, or allow user namespaces"

// enterNamespace runs this program again as root of a user namespace, with
// mounts of its own. It returns only if that fails.
func enterNamespace(args []string, errOut io.Writer) int {
	if os.Getenv(namespaceMark) != "" {
		fmt.Fprintln(errOut, "quickstart: mounting is not allowed in the user namespace")
	} else {
		fmt.Fprintf(errOut, "quickstart: entering a user namespace: %v\n", becomeRoot(args))
	}
	fmt.Fprintln(errOut, privilegeHint)
	return 1
}

func becomeRoot(args []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	n, err := userns.New(name, "/")
	if err != nil {
		return err
	}
	env := append(os.Environ(), namespaceMark+"="+n.Mark())
	return n.Exec(dir, append([]string{program}, args...), env, inherited)
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
