package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

const watchedConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = %q
`

// watched is a containerd in which ctr has begun an ingest and waits for the rest.
type watched struct {
	socket string
	layer  digest.Digest
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{startContainerd(t, "2.4"), digest.FromString("layer")}
	ctr := exec.Command(tool("ctr"), "-a", w.socket, "-n", "k8s.io", "content", "ingest", "--expected-size", "4000000", "layer-"+w.layer.String())
	in, err := ctr.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin(t, ctr)
	go func() { _, _ = in.Write(make([]byte, 2_000_000)) }() // ctr writes pieces of half a MiB
	return w
}

// startContainerd starts a containerd of a version and returns its socket.
func startContainerd(t *testing.T, version string) string {
	t.Helper()
	long(t)
	binary := filepath.Join("../../.ci/tools/bin", version, "containerd")
	if _, err := os.Stat(binary); err != nil || !realRoot() {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs containerd and root")
		}
		t.Skip("this test needs containerd and root")
	}
	dir, err := os.MkdirTemp("", "watched") // short, as sockets need
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "sock")
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(watchedConfig, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	begin(t, exec.Command(binary, "--config", config))
	for range 300 {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return socket
}

// begin starts a program that ends with the test.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", filepath.Base(cmd.Path), &out)
		}
	})
}

// TestWatch: what is seen of an ingest, in each form, and that Ctrl-C is success.
func TestWatch(t *testing.T) {
	w := newWatched(t)
	w.awaitIngest(t)
	t.Run("once, text", func(t *testing.T) {
		out, err := exec.Command(programName, "watch", "--once", "--interval", "200ms", "-a", w.socket).Output()
		if want := "k8s.io  unknown image  "; err != nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), "/4.0 MB") || !strings.HasSuffix(string(out), "0/1 layers\n") {
			t.Errorf("got %v and %q", err, out)
		}
	})
	t.Run("once, documented", func(t *testing.T) {
		out, err := exec.Command(programName, "watch", "--once", "--interval", "200ms", "--format", "json", "-a", w.socket).Output()
		var object map[string]any
		if err := errors.Join(err, json.Unmarshal(out, &object)); err != nil {
			t.Fatal(err)
		}
		got, want := map[string]string{}, map[string]string{}
		typesOf("", object, got)
		documented, _, _ := strings.Cut(section(t, "output.md", "Watch"), "\n| state |")
		for _, cells := range rows(documented) {
			want[cells[0]] = cells[1]
			if strings.HasSuffix(cells[1], " or null") {
				want[cells[0]] = "null"
			}
		}
		for _, may := range []map[string]string{got, want} { // null or not, as time goes by
			maps.DeleteFunc(may, func(field, _ string) bool { return strings.HasSuffix(field, "Ms") })
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-documented +got):\n%s", diff)
		}
	})
	t.Run("lines of JSON until SIGINT", func(t *testing.T) {
		cmd := exec.Command(programName, "watch", "--interval", "100ms", "--format", "json", "-a", w.socket)
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 2 {
			if !lines.Scan() || !json.Valid(lines.Bytes()) || !strings.Contains(lines.Text(), w.layer.String()) {
				t.Errorf("got %q", lines.Text())
			}
		}
		w.interrupt(t, cmd, out)
	})
	t.Run("on a terminal until SIGINT", func(t *testing.T) {
		cmd := exec.Command(programName, "watch", "-a", w.socket)
		cmd.Env = append(cmd.Environ(), "TERM=xterm", "COLUMNS=100")
		terminal, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer terminal.Close()
		cmd.Stdout = tty
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		tty.Close()
		var seen strings.Builder
		for buf := make([]byte, 4096); !strings.Contains(seen.String(), "total") && err == nil; {
			var n int
			n, err = terminal.Read(buf)
			seen.Write(buf[:n])
		}
		if text := seen.String(); !strings.Contains(text, " (k8s.io)") || !strings.Contains(text, "\x1b[") || !strings.Contains(text, w.layer.Encoded()[:12]) {
			t.Errorf("got %q and %v", text, err)
		}
		w.interrupt(t, cmd, terminal)
	})
	t.Run("a reader that leaves", func(t *testing.T) {
		cmd := exec.Command("bash", "-c", `"$1" watch --interval 100ms -a "$2" | head -n 1; exit "${PIPESTATUS[0]}"`, "bash", programName, w.socket)
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.HasPrefix(string(out), "k8s.io ") {
			t.Errorf("got %v and %q, want 1", err, out)
		}
	})
}

// awaitIngest waits until the ingest can be seen.
func (w *watched) awaitIngest(t *testing.T) {
	t.Helper()
	cmd := exec.Command(programName, "watch", "--interval", "100ms", "--format", "json", "-a", w.socket)
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), w.layer.String()) {
	}
	w.interrupt(t, cmd, out)
}

// interrupt ends a watch, whose output goes on until then.
func (w *watched) interrupt(t *testing.T, cmd *exec.Cmd, out io.Reader) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out) // that of a terminal ends with EIO
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: got %v, want success", err)
	}
}
