// Package userns makes an ordinary user root of a user namespace, in which layers
// can be unpacked: with the subordinate IDs of /etc/subuid and /etc/subgid, so that
// files keep their owners, or with the caller's own IDs alone.
//
// A process with several threads, as a Go program is, cannot enter a user namespace.
// New therefore makes one around a process that only waits, and Exec replaces this
// process by nsenter, which enters it and executes the program anew. The package
// reads no environment. Start reading at New.
package userns

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespace is a user namespace with mounts of its own, in which the caller is
// root.
type Namespace struct {
	// Alone is why only the caller's own IDs exist there, empty if the subordinate
	// ones do.
	Alone string

	holder *exec.Cmd // a process in it
	end    io.Closer // of which ends the holder
}

// WithOwners is the Mark of a namespace in which files keep their owners.
const WithOwners = "owners"

// Mark is never empty: it tells a process in the namespace that it is there, and why
// only the caller's own IDs exist, if so.
func (n *Namespace) Mark() string { return cmp.Or(n.Alone, WithOwners) }

// MayMount reports whether this process may mount, which unpacking needs. In many
// containers not even root may.
func MayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// HasOneID reports whether this process is in a user namespace that knows a single
// user or a single group: files cannot be given to another owner there.
func HasOneID() bool {
	return countIDs("/proc/self/uid_map") == 1 || countIDs("/proc/self/gid_map") == 1
}

// countIDs returns how many IDs a map has, 0 if it cannot be read.
func countIDs(file string) (all int64) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[2], 10, 64) // the kernel writes numbers
			all += n
		}
	}
	return all
}

// New makes a namespace for the user of that name, which may be empty, with the
// IDs that etc/subuid and etc/subgid below root give that user if newuidmap and
// newgidmap can map them. The caller closes it.
func New(name, root string) (*Namespace, error) {
	ids, err := subordinate(name, root)
	if err == nil {
		var n *Namespace
		if n, err = withRanges(ids); err == nil {
			return n, nil
		}
	}
	alone, aloneErr := start(&syscall.SysProcAttr{
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	})
	if aloneErr != nil {
		return nil, aloneErr
	}
	alone.Alone = err.Error()
	return alone, nil
}

// start starts a process in a new namespace that waits for its end.
func start(attr *syscall.SysProcAttr) (*Namespace, error) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	holder := exec.Command(cat)
	attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	holder.SysProcAttr = attr
	end, err := holder.StdinPipe()
	if err == nil {
		err = holder.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	return &Namespace{holder: holder, end: end}, nil
}

// withRanges makes a namespace with the caller as root and ids after it.
func withRanges(ids ranges) (*Namespace, error) {
	n, err := start(&syscall.SysProcAttr{})
	if err != nil {
		return nil, err
	}
	pid := strconv.Itoa(n.holder.Process.Pid)
	err = mapIDs("newuidmap", pid, os.Geteuid(), ids.users)
	if err == nil {
		err = mapIDs("newgidmap", pid, os.Getegid(), ids.groups)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// mapIDs has a program of shadow, which has the right to, map own to root and the
// ranges to what follows.
func mapIDs(program, pid string, own int, all []idRange) error {
	args := append(make([]string, 0, 4+3*len(all)), pid, "0", strconv.Itoa(own), "1")
	next := int64(1)
	for _, r := range all {
		args = append(args, strconv.FormatInt(next, 10), strconv.FormatInt(r.first, 10), strconv.FormatInt(r.count, 10))
		next += r.count
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("%s is not installed", program)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// Close lets go of the namespace, which ends unless a process has entered it.
func (n *Namespace) Close() error {
	return errors.Join(n.end.Close(), n.holder.Wait())
}

// Exec replaces this process by argv, whose first element is a path, in the
// namespace and in the working folder dir. It returns only if it fails. The numbers
// of the descriptors that stay open in the program are added to the environment as
// the variable named.
func (n *Namespace) Exec(dir string, argv, env []string, named string) error {
	var into, numbers []string
	for _, kind := range []string{"user", "mnt"} {
		fd, err := unix.Open(filepath.Join("/proc", strconv.Itoa(n.holder.Process.Pid), "ns", kind), unix.O_RDONLY, 0)
		if err != nil {
			return fmt.Errorf("opening the %s namespace: %w", kind, err)
		}
		into = append(into, Option(kind, fd))
		numbers = append(numbers, strconv.Itoa(fd))
	}
	if err := n.Close(); err != nil {
		return fmt.Errorf("ending the process that held the user namespace: %w", err)
	}
	return Exec(into, dir, argv, append(env, named+"="+strings.Join(numbers, ",")))
}

// Option is the argument of nsenter, of util-linux and of busybox, that enters a
// namespace of a kind by an open descriptor.
func Option(kind string, fd int) string {
	return fmt.Sprintf("%s/proc/self/fd/%d", map[string]string{"user": "-U", "mnt": "-m", "net": "-n"}[kind], fd)
}

// ErrNoNsenter says that util-linux or busybox is not installed.
var ErrNoNsenter = errors.New("nsenter is not on PATH")

// Exec replaces this process by nsenter with the options, which executes argv in
// the folder dir. It returns only if it fails.
func Exec(options []string, dir string, argv, env []string) error {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return ErrNoNsenter
	}
	args := append([]string{"nsenter", "--preserve-credentials", "-F"}, options...)
	if dir != "" {
		// It is opened from outside, so that relative paths keep their meaning. Inside,
		// getcwd may fail; PWD holds the path.
		args = append(args, "-w"+dir)
		env = append(env, "PWD="+dir)
	}
	cmd := exec.Cmd{Env: env} // of a variable that is set twice the last counts
	return fmt.Errorf("executing %s: %w", nsenter, syscall.Exec(nsenter, append(args, argv...), cmd.Environ()))
}

// CloseInherited closes the descriptors of namespaces that Exec has left open in the
// program that it executed; numbers is what its variable says. No program that is
// executed from there has them then.
func CloseInherited(numbers string) {
	for _, text := range strings.Split(numbers, ",") {
		fd, err := strconv.Atoi(text)
		var in unix.Statfs_t
		if err == nil && unix.Fstatfs(fd, &in) == nil && in.Type == unix.NSFS_MAGIC {
			unix.Close(fd)
		}
	}
}
