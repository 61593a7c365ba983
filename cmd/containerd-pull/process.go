package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// process is a process by a handle of its folder in /proc. Whatever is read by it
// is of that process: once it has ended, the handle leads nowhere, also when its
// number has been given to another one.
type process struct {
	pid    int
	folder *os.File
}

// openProcess returns a handle of a process. The caller closes it.
func openProcess(pid int) (*process, error) {
	folder, err := os.OpenFile(filepath.Join("/proc", strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &process{pid, folder}, nil
}

func (p *process) close() error { return p.folder.Close() }

// path is the path of a file of the process, by the handle.
func (p *process) path(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", p.folder.Fd(), name)
}

// namespace returns an identifier of a namespace, for comparison.
func (p *process) namespace(kind string) (string, error) { return os.Readlink(p.path("ns/" + kind)) }

// ownNamespace returns the identifier of a namespace of this process.
func ownNamespace(kind string) (string, error) { return os.Readlink("/proc/self/ns/" + kind) }

// openNamespace opens a namespace of the process for a program that this one
// becomes.
func (p *process) openNamespace(kind string) (fd int, err error) {
	return unix.Open(p.path("ns/"+kind), unix.O_RDONLY, 0)
}

// parent returns the number of the parent process.
func (p *process) parent() (int, error) {
	text, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return 0, err
	}
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0, fmt.Errorf("process %d: got %q in stat", p.pid, text)
	}
	return strconv.Atoi(fields[1])
}

// isChildOf returns why the process is not the child of the RootlessKit whose state
// is in dir, empty if it is. RootlessKit runs as this user in the namespace of this
// process, which no process of a container has for a parent, and its child is in a
// user namespace of this user.
func (p *process) isChildOf(dir string) (why string, err error) {
	number, err := p.parent()
	if err != nil {
		return "", err
	}
	parent, err := openProcess(number)
	if err != nil {
		return fmt.Sprintf("its parent %d cannot be looked at", number), nil
	}
	defer parent.close()
	if why := parent.isRootlessKit(dir); why != "" {
		return fmt.Sprintf("its parent, process %d, %s", number, why), nil
	}
	if owner, err := p.namespaceOwner(); err != nil || owner != os.Geteuid() {
		return fmt.Sprintf("its user namespace belongs to uid %d", owner), err
	}
	// The number of the parent was not given to another process meanwhile.
	if again, err := p.parent(); err != nil || again != number {
		return "its parent has ended", nil
	}
	return "", nil
}

// isRootlessKit returns why the process is not a RootlessKit of this user, empty if
// it is.
func (p *process) isRootlessKit(dir string) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(p.folder.Fd()), &st); err != nil || int(st.Uid) != os.Geteuid() {
		return "is of another user"
	}
	theirs, err := p.namespace("user")
	own, ownErr := ownNamespace("user")
	if err != nil || ownErr != nil || theirs != own {
		return "is in another user namespace"
	}
	program, _ := os.Readlink(p.path("exe"))
	if strings.TrimSuffix(filepath.Base(program), " (deleted)") != "rootlesskit" && !p.holds(filepath.Join(dir, "lock")) {
		return "is not rootlesskit"
	}
	return ""
}

// holds reports whether the process has a file open. Programs that have RootlessKit
// built in, such as k3s, have another name, and the lock of its state as well.
func (p *process) holds(file string) bool {
	want, err := os.Stat(file)
	if err != nil {
		return false
	}
	open, _ := filepath.Glob(p.path("fd/*"))
	for _, fd := range open {
		if info, err := os.Stat(fd); err == nil && os.SameFile(info, want) {
			return true
		}
	}
	return false
}

// namespaceOwner returns the user who made the user namespace of the process.
func (p *process) namespaceOwner() (uid int, err error) {
	fd, err := p.openNamespace("user")
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	owner, err := unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID)
	return int(owner), err
}

// envNamespaces are the descriptors by which nsenter found the namespaces. They
// stay open in the program that it executes.
const envNamespaces = "CONTAINERD_PULL_NAMESPACES"

// closeNamespaces closes those descriptors, so that no program that this one
// executes has them.
func closeNamespaces(caller config.Caller) {
	for _, text := range strings.Split(caller.Getenv(envNamespaces), ",") {
		fd, err := strconv.Atoi(text)
		var in unix.Statfs_t
		if err == nil && unix.Fstatfs(fd, &in) == nil && in.Type == unix.NSFS_MAGIC {
			unix.Close(fd)
		}
	}
}
