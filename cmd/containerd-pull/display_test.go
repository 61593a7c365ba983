package main

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// onTerminal runs a pull whose stderr is a terminal, and returns what is written
// to the terminal.
func onTerminal(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), programName, args...)
	cmd.Env = append(cmd.Environ(), env...)
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	cmd.Stderr = tty
	shown := make(chan string)
	go func() {
		var all bytes.Buffer
		_, _ = all.ReadFrom(terminal) // it ends with EIO when the program has ended
		shown <- all.String()
	}()
	out, err := cmd.Output()
	tty.Close()
	text := <-shown
	if err != nil || !strings.HasSuffix(string(out), "/slow:latest\n") {
		t.Errorf("pulling on a terminal: got %v and %q\n%s", err, out, text)
	}
	return text
}

// TestSequences: escape sequences are for terminals that can show them. stderr
// decides, not stdout.
func TestSequences(t *testing.T) {
	long(t)
	w := newWorld(t)
	pull := func() []string { return []string{"--root", t.TempDir(), "--unpack=false", w.host() + "/slow"} }
	colour := regexp.MustCompile("\x1b\\[[0-9;]+m")
	for _, tt := range []struct {
		name            string
		env, args       []string
		region, colours bool
	}{
		{"terminal", []string{"TERM=xterm", "NO_COLOR="}, pull(), true, true},
		{"NO_COLOR", []string{"TERM=xterm", "NO_COLOR=1"}, pull(), true, false},
		{"dumb", []string{"TERM=dumb"}, pull(), false, false},
		{"plain", []string{"TERM=xterm"}, append(pull(), "--progress", "plain"), false, false},
		{"quiet", []string{"TERM=xterm"}, append(pull(), "-q"), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := onTerminal(t, tt.env, tt.args...)
			if region := strings.Contains(got, "\x1b["); region != tt.region {
				t.Errorf("got sequences %v, want %v: %q", region, tt.region, got)
			}
			if colours := colour.MatchString(got); colours != tt.colours {
				t.Errorf("got colours %v, want %v: %q", colours, tt.colours, got)
			}
		})
	}
	t.Run("stdout is a terminal, stderr is not", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), programName, pull()...)
		cmd.Env = append(cmd.Environ(), "TERM=xterm")
		terminal, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer terminal.Close()
		defer tty.Close()
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, &stderr)
		}
		if got := stderr.String(); strings.ContainsAny(got, "\x1b\r") || !strings.Contains(got, "/slow:latest: new, ") {
			t.Errorf("got %q, want plain lines", got)
		}
	})
}
