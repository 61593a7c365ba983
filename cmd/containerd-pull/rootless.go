package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// rootlessKit is a running RootlessKit: the namespaces in which an ordinary
// user's containerd runs. Its folder is described by RootlessKit's README.
type rootlessKit struct {
	dir string // its state
	pid int    // of the child, which is in all of its namespaces
}

// rootlessError is a rootless containerd that cannot be reached.
type rootlessError struct {
	err  error
	hint string
}

func (e *rootlessError) Error() string { return "entering rootless containerd: " + e.err.Error() }

func (e *rootlessError) Hint() string { return e.hint }

func (e *rootlessError) Unwrap() []error { return []error{e.err, store.ErrUnavailable} }

// enterRootless executes this command line once more beside the caller's
// rootless containerd, if one of the configurations leads to it. Commands that
// open a store call it as soon as they know which, before they ask for a
// password or write anything. It returns where there is nothing to enter, and
// never comes back otherwise.
func enterRootless(caller config.Caller, all ...*config.Config) error {
	if caller.UID == 0 || !slices.ContainsFunc(all, leadsInside) {
		return nil
	}
	kit, err := findRootlessKit(caller)
	if kit == nil || err != nil {
		return err
	}
	outside, err := kit.outside()
	if !outside || err != nil {
		return err
	}
	program, err := thisCommand()
	if err != nil {
		return err
	}
	return kit.enter(caller, append([]string{program}, os.Args[1:]...))
}

// leadsInside tells whether a store is one of rootless containerd: neither a
// root without a daemon, nor a socket that was named and answers from here.
func leadsInside(cfg *config.Config) bool {
	if cfg.Store.Root != "" {
		return false
	}
	if cfg.Origin("address").Kind == config.BuiltIn {
		return true
	}
	conn, err := net.DialTimeout("unix", strings.TrimPrefix(cfg.Store.Address, "unix://"), time.Second)
	if err != nil {
		return true
	}
	_ = conn.Close() // it answered, which is all
	return false
}

// findRootlessKit gives nil if the caller has none.
func findRootlessKit(caller config.Caller) (*rootlessKit, error) {
	dir := caller.Getenv("ROOTLESSKIT_STATE_DIR")
	if dir == "" {
		runtimeDir := caller.Getenv("XDG_RUNTIME_DIR")
		if runtimeDir == "" { // as under su and cron
			runtimeDir = fmt.Sprintf("/run/user/%d", caller.UID)
		}
		dir = filepath.Join(runtimeDir, "containerd-rootless")
	}
	file := filepath.Join(dir, "child_pid")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // somebody else's is none
		return nil, nil
	}
	if err != nil {
		return nil, &rootlessError{err: err}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return nil, &rootlessError{fmt.Errorf("%s: got %q, want the number of a process", file, text), restartHint}
	}
	return &rootlessKit{dir, pid}, nil
}

const restartHint = "start it again: systemctl --user restart containerd"

// namespace names a namespace of a process, so that two can be compared.
func namespace(pid, kind string) (string, error) {
	return os.Readlink(filepath.Join("/proc", pid, "ns", kind))
}

func (k *rootlessKit) namespace(kind string) (string, error) {
	return namespace(strconv.Itoa(k.pid), kind)
}

// outside tells whether this process has yet to enter. That the namespaces
// are the same afterwards is why nothing enters twice.
func (k *rootlessKit) outside() (bool, error) {
	theirs, err := k.namespace("user")
	if errors.Is(err, fs.ErrNotExist) {
		return false, &rootlessError{fmt.Errorf("process %d, which %s names, has ended", k.pid, filepath.Join(k.dir, "child_pid")), restartHint}
	}
	if err != nil {
		return false, &rootlessError{err, "ROOTLESSKIT_STATE_DIR and XDG_RUNTIME_DIR say whose containerd is meant"}
	}
	ours, err := namespace("self", "user")
	if err != nil {
		return false, &rootlessError{err: err}
	}
	return ours != theirs, nil
}

// enter executes a command line in the namespaces. A Go program cannot enter a
// user namespace, because it has several threads: nsenter can.
func (k *rootlessKit) enter(caller config.Caller, args []string) error {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return &rootlessError{errors.New("nsenter is not on PATH"),
			fmt.Sprintf("install util-linux, or name the socket as it is seen from outside: --address /proc/%d/root/run/containerd/containerd.sock", k.pid)}
	}
	into := k.nsenterArgs()
	dir, err := os.Getwd()
	if err == nil {
		into = append(into, "-w"+dir)
	}
	cmd := exec.Command(nsenter, append(into, args...)...)
	// nsenter opens the folder from outside, where relative paths have their
	// meaning. The kernel cannot name it inside: PWD, which Environ sets, does.
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(),
		"ROOTLESSKIT_STATE_DIR="+k.dir,
		fmt.Sprintf("ROOTLESSKIT_PARENT_EUID=%d", caller.UID),
		fmt.Sprintf("ROOTLESSKIT_PARENT_EGID=%d", os.Getegid()))
	return &rootlessError{err: fmt.Errorf("executing %s: %w", nsenter, syscall.Exec(nsenter, cmd.Args, cmd.Environ()))}
}

// nsenterArgs are read alike by util-linux and busybox. The network is entered
// as well unless it is ours already or RootlessKit left it outside, for its
// containers alone: see its --detach-netns.
func (k *rootlessKit) nsenterArgs() []string {
	args := []string{"--preserve-credentials", "-U", "-m", "-t", strconv.Itoa(k.pid), "-F"}
	ours, err := namespace("self", "net")
	theirs, theirErr := k.namespace("net")
	_, detached := os.Stat(filepath.Join(k.dir, "netns"))
	if detached != nil && (err != nil || theirErr != nil || ours != theirs) {
		args = append(args, "-n")
	}
	return args
}

// thisCommand is the path of this program under the name by which it was
// called, since that says what it is to do.
func thisCommand() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return program, nil
	}
	if called, err = filepath.Abs(called); err != nil || !sameFile(called, program) {
		return program, nil
	}
	return called, nil
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	second, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(first, second)
}
