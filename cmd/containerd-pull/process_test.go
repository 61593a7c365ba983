package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// The tests of this file run the program, which testscript puts on PATH, where
// scripts do not suffice.

// TestPasswordPrompt runs the command on a terminal of its own.
func TestPasswordPrompt(t *testing.T) {
	long(t)
	w := newWorld(t)
	host := w.host()
	cmd := exec.CommandContext(t.Context(), programName, "--root", t.TempDir(), "--unpack=false", "-u", "me", host+"/good")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	shown := make(chan string)
	go func() {
		var all bytes.Buffer
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			all.Write(buf[:n])
			if strings.Contains(string(buf[:n]), "Password of me for "+host) {
				waitForSilence(t, terminal)
				terminal.WriteString("canary\n")
			}
			if err != nil {
				shown <- all.String()
				return
			}
		}
	}()
	if err := cmd.Wait(); err != nil {
		t.Errorf("pull after the prompt: %v", err)
	}
	if got, want := stdout.String(), host+"/good:latest\n"; got != want {
		t.Errorf("stdout: got %q, want %q", got, want)
	}
	if text := <-shown; strings.Contains(text, "canary") {
		t.Errorf("the terminal shows the password: %q", text)
	}
}

// waitForSilence waits until the terminal does not echo. The program turns the
// echo off after it has written the prompt.
func waitForSilence(t *testing.T, terminal *os.File) {
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Error(err)
			return
		}
		if state.Lflag&unix.ECHO == 0 {
			return
		}
	}
	t.Error("the terminal shows what is typed")
}

// TestSignals interrupts pulls that wait for a registry.
func TestSignals(t *testing.T) {
	long(t)
	w := newWorld(t)
	for _, tc := range []struct {
		signal syscall.Signal
		code   int
		text   string
	}{
		{syscall.SIGINT, 130, "interrupted by SIGINT"},
		{syscall.SIGTERM, 143, "interrupted by SIGTERM"},
		{syscall.SIGHUP, 143, "interrupted by SIGHUP"},
	} {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), programName, "--root", t.TempDir(), "--unpack=false", w.host()+"/stalling")
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.stalls(t)
		start := time.Now()
		if err := cmd.Process.Signal(tc.signal); err != nil {
			t.Fatal(err)
		}
		if got := exitCode(t, cmd.Wait()); got != tc.code {
			t.Errorf("code after %v: got %d, want %d", tc.signal, got, tc.code)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("end after %v: took %s, want at most 2s", tc.signal, took)
		}
		if got := stderr.String(); !strings.Contains(got, tc.text) || !strings.Contains(got, "hint: run the same command again") {
			t.Errorf("stderr after %v: got %q, want %q and a hint", tc.signal, got, tc.text)
		}
		if stdout.Len() > 0 {
			t.Errorf("stdout after %v: got %q, want nothing", tc.signal, &stdout)
		}
	}
}

// lost is where nothing that is written arrives.
func lost(t *testing.T) map[string]*os.File {
	t.Helper()
	reader, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close(); full.Close() })
	return map[string]*os.File{"closed pipe": pipe, "full disk": full}
}

// TestLostOutput pulls with a stdout or a stderr that takes nothing: the image is
// registered, the digest file and the other stream are whole, and the code is 1, or that
// of the failure. A stream that nothing is written to is not missed.
func TestLostOutput(t *testing.T) {
	long(t)
	w := newWorld(t)
	for what, file := range lost(t) {
		for _, tc := range []struct {
			name   string
			stderr bool // is lost, in place of stdout
			image  string
			args   []string
			code   int
			other  string // in the stream that is not lost
		}{
			{"stdout", false, "/good", nil, 1, "containerd-pull: writing the result: "},
			{"stdout as JSON", false, "/good", []string{"--format", "json"}, 1, "hint: what the command had to do is done; only its output is lost\n"},
			{"stdout of a failure", false, "/missing", []string{"--format", "json"}, 4, "404"},
			{"stderr", true, "/good", nil, 1, w.host() + "/good:latest\n"},
			{"stderr of events", true, "/good", []string{"--progress", "json", "--format", "json"}, 1, `"ref":"`},
			{"stderr that stays empty", true, "/good", []string{"-q"}, 0, w.host() + "/good:latest\n"},
			{"stderr of a failure", true, "/missing", []string{"--format", "json"}, 4, `"code":4`},
		} {
			t.Run(tc.name+" on a "+what, func(t *testing.T) {
				digests, root := filepath.Join(t.TempDir(), "digests"), filepath.Join(t.TempDir(), "root")
				var other bytes.Buffer
				cmd := exec.CommandContext(t.Context(), programName, append(tc.args, "--root", root, "--unpack=false", "--digestfile", digests, w.host()+tc.image)...)
				cmd.Stdout, cmd.Stderr = file, &other
				if tc.stderr {
					cmd.Stdout, cmd.Stderr = &other, file
				}
				if got := exitCode(t, cmd.Run()); got != tc.code || !strings.Contains(other.String(), tc.other) {
					t.Errorf("got code %d and %q, want %d and %q", got, &other, tc.code, tc.other)
				}
				written, err := os.ReadFile(digests)
				if done := tc.image == "/good"; done != (err == nil) || done != strings.HasPrefix(string(written), "sha256:") {
					t.Errorf("got digest file %q and %v, want one: %v", written, err, done)
				}
				out, err := exec.CommandContext(t.Context(), programName, "images", "--root", root, "-q").Output()
				if registered := strings.Contains(string(out), w.host()+tc.image); registered != (tc.image == "/good") {
					t.Errorf("got images %q and %v", out, err)
				}
			})
		}
	}
}

// Help that is asked for is a result.
func TestLostHelp(t *testing.T) {
	for what, file := range lost(t) {
		for _, args := range [][]string{{"--help"}, {"-h"}, {"pull", "--help-all"}, {"gc", "--help"}, {"help"}, {"help", "profiles"}} {
			var stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), programName, args...)
			cmd.Stdout, cmd.Stderr = file, &stderr
			if got := exitCode(t, cmd.Run()); got != 1 || !strings.Contains(stderr.String(), "writing the result: ") {
				t.Errorf("%q into a %s: got code %d and %q, want 1 and an error of writing", args, what, got, &stderr)
			}
		}
	}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}
