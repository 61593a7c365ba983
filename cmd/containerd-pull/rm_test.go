package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// shelf is a containerd with an image that has several names: of a container, of a
// user who pinned it, and two of CRI. Another is one of its manifests, under a name of
// its own.
type shelf struct {
	socket, registry string
	other            string
	config           string // of all of them
}

func newShelf(t *testing.T, version string) *shelf {
	t.Helper()
	s := &shelf{socket: startContainerd(t, version), registry: newWorld(t).host()}
	pull := func(args ...string) string {
		out, code := s.run(t, append([]string{"--quiet", "--snapshotter=native"}, args...)...)
		if code != 0 {
			t.Fatalf("pull %s: got %d and %s", args, code, out)
		}
		return strings.TrimSpace(out)
	}
	manifest, config, _ := strings.Cut(pull("--format={{(index .platforms 0).manifest}} {{(index .platforms 0).config}}", s.ref("used")), " ")
	s.config = config
	pull("--unpack=false", "--label=io.cri-containerd.pinned=pinned", s.ref("pinned"))
	pull("--unpack=false", "--label=io.cri-containerd.image=managed", s.ref("cri"), s.ref("cri2"))
	s.other = s.registry + "/other@" + manifest
	pull("--unpack=false", s.other)
	s.ctr(t, "containers", "create", "--snapshotter=native", s.ref("used"), "c1", "true")
	s.tellSnapshot(t, "")
	return s
}

// tellSnapshot has the config, which is that of all images here, say which snapshot was
// made of it. If it says none, a container uses an image by the name alone.
func (s *shelf) tellSnapshot(t *testing.T, top string) {
	t.Helper()
	s.ctr(t, "content", "label", s.config, "containerd.io/gc.ref.snapshot.native="+top)
}

// top is the snapshot on which c1 stands.
func (s *shelf) top(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(s.ctr(t, "snapshots", "--snapshotter=native", "list")) {
		if fields := strings.Fields(line); fields[0] == "c1" {
			return fields[1]
		}
	}
	t.Fatal("c1 has no snapshot")
	return ""
}

func (s *shelf) ref(name string) string { return s.registry + "/" + name + ":latest" }

// run runs the program without a terminal.
func (s *shelf) run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(programName, append(args, "--address", s.socket)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	text, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(text), 0
}

func (s *shelf) ctr(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool("ctr"), append([]string{"-a", s.socket}, args...)...).Output()
	if err != nil {
		t.Fatalf("ctr %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// names lists the images that are there.
func (s *shelf) names(t *testing.T) string {
	t.Helper()
	var short []string
	for name := range strings.FieldsSeq(s.ctr(t, "images", "list", "--quiet")) {
		name = strings.TrimPrefix(strings.TrimSuffix(name, ":latest"), s.registry+"/")
		name, _, _ = strings.Cut(name, "@")
		short = append(short, name)
	}
	return strings.Join(short, " ")
}

// TestRemoveFromDaemon, finding missing-2: what is to stay, what --force and --prune
// remove, and that nothing goes unless all may.
func TestRemoveFromDaemon(t *testing.T) {
	for _, version := range []string{"2.4", "1.6"} {
		t.Run(version, func(t *testing.T) {
			s := newShelf(t, version)
			const all = "cri2 cri other pinned used"
			for _, tc := range []struct {
				args []string
				says string
			}{
				{[]string{s.other, s.ref("used")}, "stays: container c1 uses it"},
				{[]string{s.other, s.ref("pinned")}, "stays: it is pinned"},
				{[]string{s.ref("cri")}, "one of the names that CRI has for it, beside " + s.ref("cri2")},
				{[]string{"--prune"}, "keep:\n  " + s.other + "\ncontainerd-pull: 1 image would be removed"},
			} {
				if out, code := s.run(t, append([]string{"rm"}, tc.args...)...); code != 2 || !strings.Contains(out, tc.says) {
					t.Errorf("rm %s: got %d and %s, want 2 and %q", tc.args, code, out, tc.says)
				}
				if got := s.names(t); got != all {
					t.Fatalf("after rm %s: got %q, want %q", tc.args, got, all)
				}
			}
			if out, code := s.run(t, "images", "--snapshotter=native", s.ref("pinned"), s.other); code != 0 || !strings.Contains(out, "unpacked, pinned") || !strings.Contains(out, "2 images") {
				t.Errorf("images: got %d and %s", code, out)
			}
			s.tellSnapshot(t, s.top(t))
			for _, args := range [][]string{{s.other}, {"--prune"}} {
				if out, code := s.run(t, append([]string{"rm"}, args...)...); s.names(t) != all {
					t.Fatalf("rm %s removed what stands below a container: got %d and %s", args, code, out)
				}
			}
			s.tellSnapshot(t, "")
			if version == "2.4" { // the question does not depend on the daemon
				s.answer(t, "n", 2, all)
				s.answer(t, "y", 0, "cri2 cri pinned used")
			}
			for _, step := range []struct {
				args []string
				left string
			}{
				{[]string{"--prune", "--yes"}, "cri2 cri pinned used"},
				{[]string{s.ref("cri"), s.ref("cri2")}, "pinned used"},
				{[]string{"--force", s.ref("used")}, "pinned"},
				{[]string{"--force", s.ref("pinned")}, ""},
			} {
				if out, code := s.run(t, append([]string{"rm"}, step.args...)...); code != 0 {
					t.Errorf("rm %s: got %d and %s", step.args, code, out)
				}
				if got := s.names(t); got != step.left {
					t.Errorf("after rm %s: got %q, want %q", step.args, got, step.left)
				}
			}
		})
	}
}

// answer answers the question of rm --prune on a terminal.
func (s *shelf) answer(t *testing.T, answer string, code int, left string) {
	t.Helper()
	cmd := exec.Command(programName, "rm", "--prune", "--address", s.socket)
	var log bytes.Buffer // what is agreed to must be seen all the same
	cmd.Stderr = &log
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var seen bytes.Buffer
	for buf := make([]byte, 4096); err == nil && !strings.Contains(seen.String(), "Remove 1 image? [y/N] "); {
		var n int
		n, err = terminal.Read(buf)
		seen.Write(buf[:n])
	}
	if !strings.Contains(seen.String(), s.other) {
		t.Errorf("got the question %s, want the image in it; the log has %s", &seen, &log)
	}
	if _, err := io.WriteString(terminal, answer+"\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(&seen, terminal) // that of a terminal ends with EIO
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("after %q: got %d and %s, want %d", answer, got, &seen, code)
	}
	if got := s.names(t); got != left {
		t.Errorf("after %q: got %q, want %q", answer, got, left)
	}
}

// TestRemoveFromSeveralNamespaces: one store is open at a time, and all names are
// judged before any is removed.
func TestRemoveFromSeveralNamespaces(t *testing.T) {
	s := &shelf{socket: startContainerd(t, "2.4"), registry: newWorld(t).host()}
	config := filepath.Join(t.TempDir(), "config.toml")
	text := ""
	for _, name := range []string{"one", "two"} {
		text += fmt.Sprintf("[profiles.%[1]s]\nmatch = [%[2]q]\nnamespace = %[1]q\n", name, s.registry+"/"+name)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	both := []string{"--config=" + config, s.ref("one"), s.ref("two")}
	if out, code := s.run(t, append([]string{"--unpack=false"}, both...)...); code != 0 {
		t.Fatalf("pull: got %d and %s", code, out)
	}
	left := func() string {
		return s.ctr(t, "-n", "one", "images", "list", "-q") + s.ctr(t, "-n", "two", "images", "list", "-q")
	}
	s.ctr(t, "-n", "two", "images", "label", s.ref("two"), "io.cri-containerd.pinned=pinned")
	if out, code := s.run(t, append([]string{"rm"}, both...)...); code != 2 || left() != s.ref("one")+"\n"+s.ref("two")+"\n" {
		t.Errorf("with one pinned: got %d and %s, and %q is left", code, out, left())
	}
	s.ctr(t, "-n", "two", "images", "label", s.ref("two"), "io.cri-containerd.pinned=")
	if out, code := s.run(t, append([]string{"rm"}, both...)...); code != 0 || left() != "" {
		t.Errorf("got %d and %s, and %q is left", code, out, left())
	}
	if out, code := s.run(t, "rm", "--prune", "--namespace=moby"); code != 2 || !strings.Contains(out, "namespace moby is Docker's") {
		t.Errorf("of Docker: got %d and %s", code, out)
	}
}
