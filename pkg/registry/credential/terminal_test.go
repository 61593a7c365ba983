package credential_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
)

// onTerminal names the entry that this test binary asks for, as the leader of a
// session on a terminal.
const onTerminal = "CREDENTIAL_TEST_ON_TERMINAL"

// TestAskOnTerminal: a program may ask on the terminal, with the display out of
// its way, and with time to answer (docker-credential-helpers#415, #354).
func TestAskOnTerminal(t *testing.T) {
	if os.Getenv(onTerminal) != "" {
		askOnTerminal(t)
		return
	}
	for _, kind := range []string{"helper", "command"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAskOnTerminal$", "-test.v")
		cmd.Env = append(os.Environ(), onTerminal+"="+kind)
		ptmx, err := pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		buf := make([]byte, 4096)
		for answered := false; ; {
			n, err := ptmx.Read(buf)
			shown.Write(buf[:n])
			if !answered && strings.Contains(shown.String(), "PIN: ") {
				answered = true
				if _, err := ptmx.WriteString("canary\n"); err != nil {
					t.Error(err)
				}
			}
			if err != nil { // the session is over
				break
			}
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(shown.String(), "PIN: ") {
			t.Errorf("%s: got %v, and on the terminal:\n%s", kind, err, shown.String())
		}
		ptmx.Close()
	}
}

func askOnTerminal(t *testing.T) {
	h := newHome(t)
	const ask = `read -r _ _ _ _ group _ _ front _ </proc/self/stat
[ "$group" = "$front" ] || exit 9
stty -echo </dev/tty
printf 'PIN: ' >&2
read -r pin </dev/tty
`
	h.script("docker-credential-ask", ask+`echo "{\"Username\":\"u\",\"Secret\":\"$pin\"}"`)
	h.script("ask", ask+`echo "$pin"`)
	entry := credential.Entry{Source: "helper", Helper: "ask"}
	if os.Getenv(onTerminal) == "command" {
		entry = credential.Entry{Source: "password", Username: "u", PasswordCommand: []string{"ask"}}
	}
	var order []string
	pause := func() func() {
		order = append(order, "pause")
		return func() { order = append(order, "resume") }
	}
	o := credential.Options{Entries: []credential.Entry{entry}, Shared: &credential.Shared{Pause: pause}}
	for range 2 {
		cred, err := h.find(o, "r.example.com", "r.example.com/a")
		if err != nil || cred.Password != "canary" {
			t.Errorf("got a password of %d bytes and %v, want what was typed", len(cred.Password), err)
		}
	}
	if strings.Join(order, " ") != "pause resume" {
		t.Errorf("got %q, want one pause around the question", order)
	}
	endOnTerminal(t, h)
}

// endOnTerminal: a program on the terminal, and what it started, end with the
// context although they have no process group of their own.
func endOnTerminal(t *testing.T, h *home) {
	gate := filepath.Join(h.dir, "pid")
	h.script("docker-credential-hang", `sleep 600 & echo $! >`+gate+`.new; mv `+gate+`.new `+gate+`; wait`)
	ctx, cancel := contextUntil(t, gate)
	defer cancel()
	_, err := h.findContext(ctx, credential.Options{Entries: []credential.Entry{{Source: "helper", Helper: "hang"}}}, "r.example.com", "r.example.com/a")
	if !errors.Is(err, errSeenEnough) {
		t.Errorf("got %v, want the end of the context", err)
	}
	text, err := os.ReadFile(gate)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, pid)
}

// awaitEnd waits until a process has ended: the signal that ends it is on its way
// when the call returns, and a busy machine takes its time.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

var errSeenEnough = errors.New("the user has seen enough")

// contextUntil ends as soon as there is a file of that name.
func contextUntil(t *testing.T, path string) (context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for ctx.Err() == nil {
			if syscall.Access(path, 0) == nil {
				cancel(errSeenEnough)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return ctx, func() { cancel(nil) }
}
