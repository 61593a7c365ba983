package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
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

// TestClosedOutput pulls with a closed pipe as stdout.
func TestClosedOutput(t *testing.T) {
	long(t)
	w := newWorld(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), programName, "--root", t.TempDir(), "--unpack=false", w.host()+"/good")
	cmd.Stdout, cmd.Stderr = writer, &stderr
	reader.Close()
	if got := exitCode(t, cmd.Run()); got != 1 || !strings.Contains(stderr.String(), "writing the result: ") {
		t.Errorf("got code %d and %q, want 1 and a message about the result", got, &stderr)
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
