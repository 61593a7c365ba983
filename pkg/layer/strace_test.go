package layer_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// The environment that makes the test binary apply an archive and exit.
const (
	childRoot    = "LAYER_TEST_ROOT"
	childArchive = "LAYER_TEST_ARCHIVE"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		os.Exit(child(root, os.Getenv(childArchive)))
	}
	os.Exit(m.Run())
}

func child(root, name string) int {
	data, err := os.ReadFile(name)
	if err == nil {
		_, err = layer.ApplyTo(context.Background(), root, bytes.NewReader(data), layer.Options{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// strace applies data in a process of its own and returns strace's output.
func strace(t *testing.T, root string, data []byte, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs strace")
		}
		t.Skip("strace is not installed")
	}
	dir := t.TempDir()
	name, log := filepath.Join(dir, "layer.tar"), filepath.Join(dir, "log")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "strace", append(append([]string{"-f", "-o", log}, args...), os.Args[0])...)
	cmd.Env = append(os.Environ(), childRoot+"="+root, childArchive+"="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("running strace: %v\n%s", err, out)
	}
	out, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// callLine is a line of strace's table with the number and the name of a call.
var callLine = regexp.MustCompile(`(?m)^\s*\S+\s+\S+\s+(\d+)\s+(?:\d+\s+)?([a-z0-9_]+)$`)

// calls counts the calls on files that applying data takes, those of the start
// included. What the runtime does for memory and scheduling is left out.
func calls(t *testing.T, data []byte) int {
	t.Helper()
	table := strace(t, t.TempDir(), data, "-c", "-e", "trace=%file,%desc", "-U", "time-percent,total-time,calls,errors,name")
	sum := 0
	for _, m := range callLine.FindAllStringSubmatch(table, -1) {
		if m[2] == "total" || m[2] == "mmap" || m[2] == "eventfd2" || strings.HasPrefix(m[2], "epoll_") {
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum == 0 {
		t.Fatalf("got no calls in:\n%s", table)
	}
	return sum
}

// TestSystemCalls: an ordinary file takes at most five system calls, an empty
// one four, and a directory with what is in it hardly more.
func TestSystemCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("tracing takes long")
	}
	const n = 500
	for name, c := range map[string]struct {
		add  func(i int) []entry
		most float64
	}{
		"file":       {func(i int) []entry { return []entry{file(fmt.Sprintf("d/%d", i), "body", mine())} }, 5},
		"executable": {func(i int) []entry { return []entry{file(fmt.Sprintf("d/%d", i), "body", mine(), mode(0o755))} }, 5},
		"file of another user": {func(i int) []entry {
			return []entry{file(fmt.Sprintf("d/%d", i), "body", owner(1000, 1001))}
		}, 5},
		"empty file": {func(i int) []entry { return []entry{file(fmt.Sprintf("d/%d", i), "", mine())} }, 4},
		"symlink":    {func(i int) []entry { return []entry{symlink(fmt.Sprintf("d/%d", i), "x", mine())} }, 3},
		"directory":  {func(i int) []entry { return []entry{dir(fmt.Sprintf("d/%d", i), mine())} }, 4},
		"directory and a file": {func(i int) []entry {
			return []entry{dir(fmt.Sprintf("d/%d", i), mine()), file(fmt.Sprintf("d/%d/f", i), "body", mine())}
		}, 11},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "file of another user" {
				needRoot(t)
			}
			entries := []entry{dir("d", mine())}
			for i := range n {
				entries = append(entries, c.add(i)...)
			}
			few := calls(t, archive(t, dir("d", mine())))
			many := calls(t, archive(t, entries...))
			// What the runtime adds in the longer run is little.
			got := float64(many-few) / n
			t.Logf("%.2f calls", got)
			if got > c.most+0.1 {
				t.Errorf("got %.2f calls, want at most %v", got, c.most)
			}
		})
	}
}

// TestWithoutOpenat2 runs on a kernel that does not have openat2, and under a
// filter that forbids it, as far as the process can tell.
func TestWithoutOpenat2(t *testing.T) {
	data := archive(t, dir("d", mine()), symlink("l", "d", mine()), file("l/f", "body", mine()), file("a/b/g", "body", mine()))
	for _, errno := range []string{"ENOSYS", "EPERM"} {
		root := t.TempDir()
		log := strace(t, root, data, "-e", "trace=openat2", "-e", "inject=openat2:error="+errno)
		if got := strings.Count(log, "openat2("); got != 1 {
			t.Errorf("%s: got %d tries of openat2, want 1", errno, got)
		}
		for _, name := range []string{"d/f", "a/b/g"} {
			if got, err := os.ReadFile(filepath.Join(root, name)); string(got) != "body" {
				t.Errorf("%s: got %q, %v in %q, want %q", errno, got, err, name, "body")
			}
		}
	}
}

// TestWithoutIDs makes files of another user where threads may not change their
// identity.
func TestWithoutIDs(t *testing.T) {
	needRoot(t)
	data := archive(t, file("f", "body", owner(1000, 1001), mode(0o4755)))
	for _, call := range []string{"prctl", "setfsuid"} {
		root := t.TempDir()
		strace(t, root, data, "-e", "trace="+call, "-e", "inject="+call+":error=EPERM")
		wantOwner(t, filepath.Join(root, "f"), 1000, 1001)
	}
}
