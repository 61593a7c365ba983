// Package process looks at processes of this user by handles, and knows which of
// them are RootlessKit's.
package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a process by a handle of its folder in /proc. Whatever is read by it
// is of that process: once it has ended, the handle leads nowhere, also when its
// number has been given to another one.
type Process struct {
	Pid    int
	folder *os.File
}

// Open returns a handle of a process. The caller closes it.
func Open(pid int) (*Process, error) {
	folder, err := os.OpenFile(filepath.Join("/proc", strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Process{pid, folder}, nil
}

// Close gives the handle back.
func (p *Process) Close() error { return p.folder.Close() }

// path is the path of a file of the process, by the handle.
func (p *Process) path(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", p.folder.Fd(), name)
}

// Namespace returns an identifier of a namespace, for comparison.
func (p *Process) Namespace(kind string) (string, error) { return os.Readlink(p.path("ns/" + kind)) }

// OwnNamespace returns the identifier of a namespace of this process.
func OwnNamespace(kind string) (string, error) { return os.Readlink("/proc/self/ns/" + kind) }

// OpenNamespace opens a namespace of the process for a program that this one
// becomes.
func (p *Process) OpenNamespace(kind string) (fd int, err error) {
	return unix.Open(p.path("ns/"+kind), unix.O_RDONLY, 0)
}

// parent returns the number of the parent process.
func (p *Process) parent() (int, error) {
	text, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return 0, err
	}
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0, fmt.Errorf("process %d: got %q in stat", p.Pid, text)
	}
	return strconv.Atoi(fields[1])
}

// IsChildOf returns why the process is not the child of the RootlessKit whose state
// is in dir, empty if it is. RootlessKit runs as this user in the namespace of this
// process, which no process of a container has for a parent, and its child is in a
// user namespace of this user.
func (p *Process) IsChildOf(dir string) (why string, err error) {
	number, err := p.parent()
	if err != nil {
		return "", err
	}
	parent, err := Open(number)
	if err != nil {
		return fmt.Sprintf("its parent %d cannot be looked at", number), nil
	}
	defer parent.Close()
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
func (p *Process) isRootlessKit(dir string) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(p.folder.Fd()), &st); err != nil || int(st.Uid) != os.Geteuid() {
		return "is of another user"
	}
	theirs, err := p.Namespace("user")
	own, ownErr := OwnNamespace("user")
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
func (p *Process) holds(file string) bool {
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
func (p *Process) namespaceOwner() (uid int, err error) {
	fd, err := p.OpenNamespace("user")
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	owner, err := unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID)
	return int(owner), err
}
