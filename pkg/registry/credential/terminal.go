package credential

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openTerminal returns the terminal of this process, nil if there is none that it
// may read from: in the background of a shell, reading would stop it.
func openTerminal() *os.File {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	raw, err := tty.SyscallConn()
	foreground := 0
	if err == nil {
		err = raw.Control(func(fd uintptr) { foreground, _ = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP) })
	}
	if err != nil || foreground != unix.Getpgrp() {
		_ = tty.Close() // nothing was written to it
		return nil
	}
	return tty
}

// killTree ends a process and what it started. A program on the terminal has no
// process group of its own that would do: only the group in the foreground may
// read from it.
func killTree(pid int) {
	children := childrenOf(pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for _, child := range children {
		killTree(child)
	}
}

// childrenOf lists the processes that the threads of pid have started, none if it
// has ended.
func childrenOf(pid int) (all []int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is right
	for _, path := range threads {
		children, _ := os.ReadFile(path) // none if the thread has ended
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}
