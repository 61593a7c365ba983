package testdaemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Close ends the daemon and its containers, and removes what it wrote, except a
// root that was given.
func (d *Daemon) Close() error {
	var errs []error
	if d.process != nil && d.process.Dead() == nil {
		errs = append(errs, d.endContainers(), d.Stop())
	}
	errs = append(errs, d.endShims(), unmountBelow(d.dir), os.RemoveAll(d.dir))
	return errors.Join(errs...)
}

// endContainers deletes all tasks, by force.
func (d *Daemon) endContainers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	spaces, err := d.RunCtr(ctx, "namespaces", "list", "--quiet")
	if err != nil {
		return err
	}
	for _, ns := range strings.Fields(spaces) {
		tasks, err := d.RunCtr(ctx, "--namespace", ns, "tasks", "list", "--quiet")
		if err != nil {
			return err
		}
		for _, task := range strings.Fields(tasks) {
			if _, err := d.RunCtr(ctx, "--namespace", ns, "tasks", "delete", "--force", task); err != nil {
				return err
			}
		}
	}
	return nil
}

// endShims kills the shims of this daemon and their children: they survive a
// daemon that was killed, by design. A shim is known by the daemon's address
// in its arguments.
func (d *Daemon) endShims() error {
	pids, err := processes()
	if err != nil {
		return err
	}
	shims := map[int]bool{}
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(line, []byte("shim")) && bytes.Contains(line, []byte("\x00"+d.Address+"\x00")) {
			shims[pid] = true
		}
	}
	for _, pid := range pids {
		if !shims[pid] && !shims[parent(pid)] {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("killing process %d of containerd: %w", pid, err)
		}
	}
	return nil
}

func processes() ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(dirs))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// parent of a process, 0 if the process has ended. The name that stands before
// it in stat may hold spaces and brackets, so the last bracket counts.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}

// unmountBelow detaches every mount in dir, the latest first.
func unmountBelow(dir string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	lines := strings.Split(string(table), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		if err := syscall.Unmount(fields[4], syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", fields[4], err)
		}
	}
	return nil
}
