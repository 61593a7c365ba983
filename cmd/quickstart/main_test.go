//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	quickstart "github.com/containerd-pull/containerd-pull/cmd/quickstart"
)

// ordinaryUID is an ordinary user that every system has.
const ordinaryUID = 65534

// becomeMain is a variable that makes the test binary the program.
const becomeMain = "QUICKSTART_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(becomeMain) != "" {
		quickstart.Main()
	}
	os.Exit(m.Run())
}

// caller is the user who runs the program, and where.
type caller struct {
	binary, temp string
	credential   *syscall.Credential
}

// install gives the user uid the program and a folder for temporary files,
// outside of the folders of the test, which others cannot enter.
func install(t *testing.T, uid int) caller {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the program, which is left out with -short")
	}
	dir, err := os.MkdirTemp("", "quickstart-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := caller{binary: filepath.Join(dir, "quickstart"), temp: filepath.Join(dir, "tmp")}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(c.temp, 0o700), copySelf(c.binary)); err != nil {
		t.Fatal(err)
	}
	if uid != os.Geteuid() {
		c.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
		if err := os.Chown(c.temp, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// copySelf writes the binary of the tests to path.
func copySelf(path string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	syscall.ForkLock.RLock() // a child that holds the file open would make it unexecutable
	defer syscall.ForkLock.RUnlock()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, self)
	return errors.Join(err, to.Close())
}

func (c caller) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Dir = c.temp
	cmd.Env = append(os.Environ(), "TMPDIR="+c.temp, "HOME="+c.temp, becomeMain+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.credential}
	return cmd
}

// run returns the output of the program and its exit code.
func (c caller) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := c.command(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("running quickstart: %v", err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// leftovers lists the folder for temporary files.
func (c caller) leftovers(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(c.temp, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// asOrdinaryUser returns the user who runs the tests, or ordinaryUID for root.
func asOrdinaryUser() int {
	if os.Geteuid() == 0 {
		return ordinaryUID
	}
	return os.Geteuid()
}

func TestStory(t *testing.T) {
	t.Parallel()
	for name, uid := range map[string]int{"caller": os.Geteuid(), "ordinary user": asOrdinaryUser()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := install(t, uid)
			stdout, stderr, code := c.run(t, "--progress", "json")
			if code != 0 {
				t.Fatalf("got exit code %d, want 0:\n%s%s", code, stdout, stderr)
			}
			checkStory(t, stdout)
			checkEvents(t, stderr)
			if got := strings.Contains(stdout, "in a user namespace"); got != (uid != 0) {
				t.Errorf("got a note about the user namespace: %v, as user %d:\n%s", got, uid, stdout)
			}
			if got := c.leftovers(t); len(got) > 0 {
				t.Errorf("got %q left behind", got)
			}
		})
	}
}

// checkStory checks what is shown: labels, the chain ID, the tree that the
// layers make together, and what to do next.
func checkStory(t *testing.T, stdout string) {
	t.Helper()
	for _, want := range []string{
		`-> sha256:[0-9a-f]{64}\n`,
		`containerd\.io/distribution\.source\.127\.0\.0\.1=sample/hello\n`,
		`containerd\.io/gc\.ref\.content\.config=sha256:`,
		`chain ID sha256:[0-9a-f]{64}\n`,
		`-rw-r--r-- +6  /etc/hostname\n`,
		`/usr/bin/hi = /usr/bin/hello\n`,
		`/usr/share/words\.dat -> words-1\.dat\n`,
		`\nLabels that begin with containerd\.io/gc\. are for containerd's garbage collection`,
		`Try next \(the first go run of a program builds it.*\)\n  go run \./cmd/`,
	} {
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("got no match of %q in:\n%s", want, stdout)
		}
	}
	chainID := regexp.MustCompile(`chain ID (\S+)`).FindStringSubmatch(stdout)
	snapshot := regexp.MustCompile(`gc\.ref\.snapshot\.(?:overlayfs|native)=(\S+)`).FindStringSubmatch(stdout)
	if chainID == nil || snapshot == nil || chainID[1] != snapshot[1] {
		t.Errorf("got chain ID %q and snapshot %q, want the same", chainID, snapshot)
	}
	if strings.Contains(stdout, "build.log") {
		t.Errorf("got a file that the second layer removes:\n%s", stdout)
	}
}

// checkEvents compares the two pulls: the first one fetches and unpacks three
// layers, the second one finds them.
func checkEvents(t *testing.T, stderr string) {
	t.Helper()
	type event struct {
		Event   string
		Kind    string
		Changed bool
		Fetched int64 `json:"bytesFetched"`
	}
	var registered []event
	counts := []map[string]int{{}, {}, {}} // before, between and after the registrations
	for line := range strings.Lines(stderr) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("decoding %q: %v", line, err)
		}
		counts[len(registered)][e.Event+e.Kind]++
		if e.Event == "register" {
			registered = append(registered, e)
		}
	}
	if len(registered) != 2 || !registered[0].Changed || registered[1].Changed {
		t.Fatalf("got registrations %+v, want a change and none", registered)
	}
	if registered[0].Fetched < 2<<20 || registered[1].Fetched > 1<<16 {
		t.Errorf("got %d and %d bytes fetched, want all and next to none", registered[0].Fetched, registered[1].Fetched)
	}
	if counts[0]["fetch.startlayer"] != 3 || counts[0]["unpack.done"] != 3 {
		t.Errorf("got events %v in the first pull, want 3 layers fetched and unpacked", counts[0])
	}
	if counts[1]["presentlayer"] != 3 || counts[1]["fetch.startlayer"] != 0 {
		t.Errorf("got events %v in the second pull, want 3 layers present", counts[1])
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	c := install(t, os.Geteuid())
	stdout, stderr, code := c.run(t, "--keep", "--progress", "none")
	kept := regexp.MustCompile(`Kept: (\S+)`).FindStringSubmatch(stdout)
	if code != 0 || kept == nil {
		t.Fatalf("got exit code %d and folder %q:\n%s%s", code, kept, stdout, stderr)
	}
	if _, err := os.Stat(filepath.Join(kept[1], "root", "io.containerd.metadata.v1.bolt", "meta.db")); err != nil {
		t.Errorf("got no root that containerd could use: %v", err)
	}
	if stderr != "" {
		t.Errorf("got %q on stderr, want nothing without progress", stderr)
	}
}

// With --serve, the commands that are printed work as they stand, and Ctrl-C
// leaves nothing behind.
func TestServe(t *testing.T) {
	t.Parallel()
	c := install(t, os.Geteuid())
	cmd := c.command(t.Context(), "--serve", "--progress", "none")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := readUntil(t, stdout, "Ctrl-C")
	commands := regexp.MustCompile(`(?m)^  (.*go run \./cmd/containerd-pull --root .*)$`).FindAllStringSubmatch(told, -1)
	if len(commands) != 2 {
		t.Fatalf("got commands %q in:\n%s", commands, told)
	}
	for _, command := range commands {
		shell := exec.CommandContext(t.Context(), "sh", "-c", command[1])
		shell.Dir = "../.."
		out, err := shell.Output()
		host := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(told)
		if want := host + "/sample/hello:latest\n"; err != nil || string(out) != want {
			t.Errorf("%s: got %q, %v, want %q", command[1], out, err, want)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("got %v after Ctrl-C, want success", err)
	}
	if got := c.leftovers(t); len(got) > 0 {
		t.Errorf("got %q left behind", got)
	}
}

// readUntil reads lines up to one that contains stop.
func readUntil(t *testing.T, r io.Reader, stop string) string {
	t.Helper()
	var told strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		told.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), stop) {
			return told.String()
		}
	}
	t.Fatalf("got no line with %q in:\n%s", stop, told.String())
	return ""
}

// Ctrl-C in the middle of the pull ends the program soon, cleanly, and with a
// failure.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for name, uid := range map[string]int{"caller": os.Geteuid(), "ordinary user": asOrdinaryUser()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := install(t, uid)
			cmd := c.command(t.Context(), "--progress", "plain")
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			readUntil(t, stderr, "fetching 1.6 MB")
			interrupted := time.Now()
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(stderr)
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("got %v, want exit code 1:\n%s", err, rest)
			}
			if took := time.Since(interrupted); took > 10*time.Second {
				t.Errorf("got the end after %v, want it soon", took)
			}
			if got := c.leftovers(t); len(got) > 0 {
				t.Errorf("got %q left behind", got)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	c := install(t, os.Geteuid())
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "-keep"},
		{[]string{"--nope"}, 2, "-nope"},
		{[]string{"image"}, 2, `unexpected argument "image"`},
		{[]string{"--progress", "fancy"}, 2, `unknown progress mode "fancy"`},
	} {
		stdout, stderr, code := c.run(t, tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.want) || stdout != "" {
			t.Errorf("%q: got exit code %d, stdout %q, stderr %q, want %d and %q", tt.args, code, stdout, stderr, tt.code, tt.want)
		}
	}
}
