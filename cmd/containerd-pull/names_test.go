package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

// TestDockerEndsItsPlugin closes Docker's socket during a pull.
func TestDockerEndsItsPlugin(t *testing.T) {
	long(t)
	w := newWorld(t)
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), plugin.DockerPlugin, "pullext", "--root", t.TempDir(), "--unpack=false", w.host()+"/stalling")
	cmd.Env = append(os.Environ(), "DOCKER_CLI_PLUGIN_SOCKET="+socket)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w.stalls(t)
	conn.Close()
	if got := exitCode(t, cmd.Wait()); got != 130 || !strings.Contains(stderr.String(), "interrupted by SIGINT") {
		t.Errorf("got code %d and %q, want those of an interrupt", got, &stderr)
	}
}
