package userns_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

// The test binary becomes a caller of Exec, and then the program that is executed.
const (
	become = "USERNS_TEST_BECOME"
	caller = "caller"
	inside = "inside"
)

func TestMain(m *testing.M) {
	switch os.Getenv(become) {
	case caller:
		fmt.Println(enter(os.Getenv("USERNS_TEST_ROOT")))
		os.Exit(1)
	case inside:
		dir, _ := os.Getwd()
		fmt.Println(os.Geteuid(), userns.MayMount(), userns.HasOneID(), filepath.Base(dir), os.Getenv("USERNS_TEST_OPEN") != "")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func enter(root string) error {
	n, err := userns.New("somebody-else", root)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return n.Exec(root, []string{self}, append(os.Environ(), become+"="+inside), "USERNS_TEST_OPEN")
}

// subordinate is a folder with an etc whose files say what the user has.
func subordinate(t *testing.T, text string) string {
	t.Helper()
	root := t.TempDir()
	err := os.Mkdir(filepath.Join(root, "etc"), 0o755)
	for _, name := range []string{"subuid", "subgid"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// mappers puts programs in front of newuidmap and newgidmap that write the maps as
// they are told, or fail.
func mappers(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	for name, file := range map[string]string{"newuidmap": "uid_map", "newgidmap": "gid_map"} {
		text := "#!/bin/sh\n" + strings.ReplaceAll(script, "MAP", file) + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const writeMap = `pid=$1; shift; while [ $# -ge 3 ]; do echo "$1 $2 $3"; shift 3; done >/tmp/map.$$; cat /tmp/map.$$ >/proc/$pid/MAP; rm /tmp/map.$$`

// namespaces skips the test where the kernel lets this user have none.
func namespaces(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("unshare", "-Urm", "true").CombinedOutput(); err != nil {
		t.Skipf("needed: user namespaces, unshare and nsenter: %v: %s", err, out)
	}
}

// TestNew: the ranges are used where they are given and can be mapped; otherwise
// the caller is alone, and it is said why.
func TestNew(t *testing.T) {
	namespaces(t)
	own := fmt.Sprint(os.Geteuid())
	for _, tc := range []struct {
		name, file, script, alone string
		root                      bool // only root's programs can map
	}{
		{"by number", "# a comment\nother:1:2\n" + own + ":100000:1000\n" + own + ":300000:10", writeMap, "", true},
		{"of others", "other:100000:1000", writeMap, "no subordinate IDs", false},
		{"malformed", own + ":x:1\n" + own + ":1\n" + own + ":0:5\n" + own + ":5:0", writeMap, "no subordinate IDs", false},
		{"refused", own + ":100000:1000", "echo not allowed; exit 1", "newuidmap: exit status 1: not allowed", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.root && os.Geteuid() != 0 {
				t.Skip("needed: root")
			}
			mappers(t, tc.script)
			root := subordinate(t, tc.file)
			n, err := userns.New("ordinary", root)
			if err != nil {
				t.Fatal(err)
			}
			if (n.Alone == "") != (tc.alone == "") || !strings.Contains(n.Alone, tc.alone) {
				t.Errorf("got alone because %q, want %q", n.Alone, tc.alone)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), become+"="+caller, "USERNS_TEST_ROOT="+root)
			out, err := cmd.Output()
			if want := fmt.Sprintf("0 true %v %s true\n", tc.alone != "", filepath.Base(root)); err != nil || string(out) != want {
				t.Errorf("got %q, %v inside, want %q", out, err, want)
			}
		})
	}
}

func TestNoSubordinateFiles(t *testing.T) {
	namespaces(t)
	n, err := userns.New("", t.TempDir())
	if err != nil || !strings.Contains(n.Alone, "there are no subordinate IDs") {
		t.Fatalf("got %+v, %v, want a namespace of the caller alone", n, err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := n.Exec("", []string{"/bin/true"}, nil, "X"); !errors.Is(err, userns.ErrNoNsenter) {
		t.Errorf("got %v, want that nsenter is missing", err)
	}
	if _, err := userns.New("", t.TempDir()); err == nil || !strings.Contains(err.Error(), "making a user namespace") {
		t.Errorf("got %v without programs, want that there is no namespace", err)
	}
}

func TestHasOneID(t *testing.T) {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if many := bytes.Contains(text, []byte("4294967295")); many && userns.HasOneID() {
		t.Errorf("got one ID of the map %q", text)
	}
}
