package credential

import (
	"fmt"
	"os"
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
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // none if it has ended
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			killTree(n)
		}
	}
}
