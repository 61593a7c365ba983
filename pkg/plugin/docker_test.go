package plugin_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

func TestParseDocker(t *testing.T) {
	for line, want := range map[string]plugin.DockerCall{
		"pullext alpine": {Args: []string{"alpine"}},
		"--config /c -D pullext --config f pullext":         {Config: "/c", Debug: true, Args: []string{"--config", "f", "pullext"}},
		"--config=/c --debug=false -l debug pullext":        {Config: "/c", Debug: true, Args: []string{}},
		"-D help pullext verify":                            {Debug: true, Args: []string{"help", "verify"}},
		"--log-level=info pullext -H x":                     {Args: []string{"-H", "x"}},
		"__complete pullext --policy _":                     {Args: []string{"__complete", "--policy", ""}},
		"__completeNoDesc --config /c pullext -p pullext _": {Config: "/c", Args: []string{"__completeNoDesc", "-p", "pullext", ""}},
	} {
		got, err := plugin.ParseDocker(fields(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if got.Args == nil {
			got.Args = []string{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	for line, want := range map[string]string{
		"-H tcp://x pullext a":        "chooses a Docker engine",
		"--tlscacert=x pullext a":     "chooses a Docker engine",
		"-c other pullext a":          "chooses a Docker engine",
		"--unknown pullext a":         "docker --unknown: unknown",
		"--config":                    "docker --config needs a value",
		"--log-level= pullext a":      "docker --log-level needs a value",
		"":                            "docker pullext",
		"__complete --debug":          "docker pullext",
		"--config pullext":            "docker pullext", // the value of the flag
		"--debug=true --verbose=true": "docker --verbose=true: unknown",
	} {
		if _, err := plugin.ParseDocker(fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
}

func TestFollow(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed := make(chan bool, 2)
	for _, docker := range []bool{true, false} { // Docker closes the socket, or stop does
		stop, err := plugin.Follow(socket, func() { closed <- true })
		if err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if docker {
			conn.Close()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Error("closed was not called when Docker closed the socket")
			}
		}
		stop()
		conn.Close()
	}
	if len(closed) > 0 {
		t.Error("closed was called by stop")
	}
	l.Close()
	if _, err := plugin.Follow(socket, func() {}); err == nil {
		t.Error("got no error without a socket")
	}
}
