package userfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// pathVariable makes the test program look at a file, as the user that it is.
const pathVariable = "USERFILE_TEST_PATH"

func TestMain(m *testing.M) {
	path := os.Getenv(pathVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	_, err := userfile.Found(path, 1<<20)
	_, foreign := errors.AsType[*userfile.Foreign](err)
	switch {
	case err == nil:
		fmt.Print("counts")
	case foreign:
		fmt.Print("foreign")
	default:
		fmt.Print(err)
	}
}

// TestM6InsideNamespaces looks at files of several owners from root of a container
// and from inside RootlessKit's namespace. What is root's on the machine has no
// number in either, and still counts; what is a container user's of the number that
// stands for that does not.
func TestM6InsideNamespaces(t *testing.T) {
	needRoot(t)
	t.Setenv("TMPDIR", "/run") // other users can write to no folder on the way
	container := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	rootlessKit := []syscall.SysProcIDMap{{ContainerID: 0, HostID: alice, Size: 1}, {ContainerID: 1, HostID: 500000, Size: 65536}}
	for name, c := range map[string]struct {
		ids    []syscall.SysProcIDMap
		owner  int
		mode   uint32 // of the folder
		counts bool
	}{
		"container: root of the machine":            {container, root, 0o755, true},
		"container: its root":                       {container, 100000, 0o755, true},
		"container: its user":                       {container, 101000, 0o755, false},
		"container: its overflow":                   {container, 100000 + 65534, 0o755, false},
		"container: root of the machine, in sticky": {container, root, 0o1777, false},
		"container: its root, in sticky":            {container, 100000, 0o1777, true},
		"rootlesskit: root of the machine":          {rootlessKit, root, 0o755, true},
		"rootlesskit: the user":                     {rootlessKit, alice, 0o755, true},
		"rootlesskit: a container's user":           {rootlessKit, 500999, 0o755, false},
		"rootlesskit: container overflow":           {rootlessKit, 500000 + 65533, 0o755, false},
		"rootlesskit: root, in sticky":              {rootlessKit, root, 0o1777, true},
	} {
		dir := home(t)
		must(t, os.Chmod(filepath.Dir(dir), 0o755)) // others have to come in
		change{"home/dir/file", c.owner, 0}.apply(t, dir)
		must(t, unix.Chmod(filepath.Join(dir, "home/dir"), c.mode))
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // its folder is closed to others
		cmd.Env = []string{pathVariable + "=" + filepath.Join(dir, "home/dir/file")}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: c.ids, GidMappings: c.ids,
			Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil && strings.Contains(err.Error(), "operation not permitted") {
			t.Skipf("making a user namespace: %v", err)
		}
		want := "foreign"
		if c.counts {
			want = "counts"
		}
		if string(out) != want || err != nil {
			t.Errorf("%s: got %q, %v, %s; want %s", name, out, err, &stderr, want)
		}
	}
}
