// Package enter executes the program once more in namespaces where it can do what was
// asked: those of the caller's rootless containerd, or a user namespace in which an
// ordinary user unpacks into a root. Which process counts as RootlessKit's is a matter
// of internal/process, how a user namespace is made of pkg/userns.
package enter

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
	"time"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/process"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

// rootlessKit is a running RootlessKit: the namespaces in which an ordinary
// user's containerd runs. RootlessKit's README describes its folder.
type rootlessKit struct {
	dir   string           // its state
	child *process.Process // which is in all of its namespaces
}

// rootlessError is the error for a rootless containerd that cannot be reached.
type rootlessError struct {
	err  error
	hint string
}

func (e *rootlessError) Error() string { return "entering rootless containerd: " + e.err.Error() }

func (e *rootlessError) Hint() string { return e.hint }

func (e *rootlessError) Unwrap() []error { return []error{e.err, store.ErrUnavailable} }

// Rootless executes this command line once more in the namespaces of the
// caller's rootless containerd, if one of the configurations leads to it. It is
// called before the command asks for a password or writes anything. It returns
// only if no namespace has to be entered; otherwise it replaces the process.
func Rootless(caller config.Caller, all ...*config.Config) error {
	if caller.UID == 0 || !slices.ContainsFunc(all, leadsInside) {
		return nil
	}
	kit, err := findRootlessKit(caller)
	if kit == nil || err != nil {
		return err
	}
	defer kit.child.Close()
	if outside, err := kit.outside(); !outside || err != nil {
		userns.CloseInherited(caller.Getenv(config.EnvNamespaces))
		return err
	}
	if err := kit.verify(); err != nil {
		return err
	}
	args, err := thisCommand(caller)
	if err != nil {
		return err
	}
	return kit.enter(caller, args)
}

// leadsInside reports whether a store belongs to rootless containerd: it is
// neither a root without a daemon, nor a configured socket that can be reached
// from outside.
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
	_ = conn.Close() // that it can be reached is enough
	return false
}

// kitFolder is where the state of the caller's RootlessKit is, if there is one.
func kitFolder(caller config.Caller) string {
	if dir := caller.Getenv("ROOTLESSKIT_STATE_DIR"); dir != "" {
		return dir
	}
	runtimeDir := caller.Getenv("XDG_RUNTIME_DIR")
	if runtimeDir == "" { // as under su and cron
		runtimeDir = fmt.Sprintf("/run/user/%d", caller.UID)
	}
	return filepath.Join(runtimeDir, "containerd-rootless")
}

// findRootlessKit returns nil if the caller runs no RootlessKit.
func findRootlessKit(caller config.Caller) (*rootlessKit, error) {
	dir := kitFolder(caller)
	file := filepath.Join(dir, "child_pid")
	text, err := userfile.Found(file, 64)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // that of another user does not count
		return nil, nil
	}
	if err != nil { // its class and its remedy are those of a configuration
		return nil, &rootlessError{errors.New(err.Error()), whoseHint}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text.Data)))
	if err != nil || pid <= 0 {
		return nil, &rootlessError{fmt.Errorf("%s: got %q, want the number of a process", file, text.Data), restartHint}
	}
	child, err := process.Open(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &rootlessError{fmt.Errorf("process %d, which %s names, has ended", pid, file), restartHint}
	}
	if err != nil {
		return nil, &rootlessError{err: err}
	}
	return &rootlessKit{dir, child}, nil
}

const (
	restartHint = "start it again: systemctl --user restart containerd"
	whoseHint   = "ROOTLESSKIT_STATE_DIR and XDG_RUNTIME_DIR say whose containerd is meant"
)

// outside reports whether this process has yet to enter the namespaces. It is
// false afterwards, so that nothing enters twice.
func (k *rootlessKit) outside() (bool, error) {
	inside, err := k.child.Namespace("user")
	if err != nil {
		return false, &rootlessError{err, whoseHint}
	}
	own, err := process.OwnNamespace("user")
	if err != nil {
		return false, &rootlessError{err: err}
	}
	return own != inside, nil
}

// verify refuses a process that is not RootlessKit's child of now. The number in
// the file may be that of a later process, in namespaces of a container whose
// files would be executed with the user's secrets.
func (k *rootlessKit) verify() error {
	why, err := k.child.IsChildOf(k.dir)
	if err != nil {
		return &rootlessError{err, whoseHint}
	}
	if why != "" {
		return &rootlessError{fmt.Errorf("process %d, which %s names, is no child of RootlessKit: %s", k.child.Pid, filepath.Join(k.dir, "child_pid"), why), restartHint}
	}
	return nil
}

// enter executes a command line in the namespaces.
func (k *rootlessKit) enter(caller config.Caller, args []string) error {
	into, opened, err := k.nsenterArgs()
	if err != nil {
		return &rootlessError{err: err}
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	env := append(insideEnv(caller, k.dir), config.EnvNamespaces+"="+opened)
	err = userns.Exec(into, dir, args, env)
	if errors.Is(err, userns.ErrNoNsenter) {
		return &rootlessError{err,
			fmt.Sprintf("install util-linux, or name the socket as it is seen from outside: --address /proc/%d/root/run/containerd/containerd.sock", k.child.Pid)}
	}
	return &rootlessError{err: err}
}

// insideEnv is the environment of this program in a user namespace, where nerdctl's
// packages and this one find out by it whose program it is.
func insideEnv(caller config.Caller, kit string) []string {
	return append(slices.Clone(caller.Environ),
		"ROOTLESSKIT_STATE_DIR="+kit,
		fmt.Sprintf("ROOTLESSKIT_PARENT_EUID=%d", caller.UID),
		fmt.Sprintf("ROOTLESSKIT_PARENT_EGID=%d", os.Getegid()))
}

// nsenterArgs returns arguments that util-linux and busybox understand alike, and
// the numbers of the descriptors that they name. The network namespace is entered
// unless it is the process's own already, or belongs to the containers alone: see
// --detach-netns of RootlessKit.
func (k *rootlessKit) nsenterArgs() (args []string, opened string, err error) {
	kinds := []string{"user", "mnt"}
	own, err := process.OwnNamespace("net")
	inside, insideErr := k.child.Namespace("net")
	_, detached := os.Stat(filepath.Join(k.dir, "netns"))
	if detached != nil && (err != nil || insideErr != nil || own != inside) {
		kinds = append(kinds, "net")
	}
	var numbers []string
	for _, kind := range kinds {
		fd, err := k.child.OpenNamespace(kind)
		if err != nil {
			return nil, "", err
		}
		args = append(args, userns.Option(kind, fd))
		numbers = append(numbers, strconv.Itoa(fd))
	}
	return args, strings.Join(numbers, ","), nil
}

// thisCommand returns the command line of the caller with the path of this
// program under the name by which it was called, because the name decides what it
// does. A caller without a command line is not a process of its own, which could
// be replaced.
func thisCommand(caller config.Caller) ([]string, error) {
	if len(caller.Args) == 0 {
		return nil, errors.New("this command cannot be executed again in a user namespace: its command line is not known")
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	called, err := exec.LookPath(caller.Args[0])
	if err == nil {
		called, err = filepath.Abs(called)
	}
	if err != nil || !sameFile(called, program) {
		called = program
	}
	return append([]string{called}, caller.Args[1:]...), nil
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	second, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(first, second)
}
