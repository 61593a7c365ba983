//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rootlessUser is an ordinary user that exists only for the tests.
const rootlessUser = 4242

// becomeRootless is a script that runs as root in a mount namespace of its own.
// It gives the user a name, subordinate IDs and the device that slirp4netns
// needs, and starts that user's RootlessKit as containerd-rootless.sh does. /etc
// and /run of the machine are not changed.
const becomeRootless = `set -e
cd "$1"
(cat /etc/passwd; echo "rootless:x:$2:$2::$1/home:/bin/sh") >passwd
(cat /etc/group; echo "rootless:x:$2:") >group
echo "rootless:500000:65536" >subuid
cp subuid subgid
for f in passwd group subuid subgid; do mount --bind $f /etc/$f; done
mkdir dev
mount -t tmpfs tmpfs dev
mknod -m 666 dev/tun c 10 200
mount --bind dev/tun /dev/net/tun
exec setpriv --reuid $2 --regid $2 --clear-groups \
	rootlesskit --state-dir="$XDG_RUNTIME_DIR/containerd-rootless" \
	--net=slirp4netns --mtu=65520 --port-driver=builtin --copy-up=/etc --copy-up=/run --copy-up=/var/lib \
	sh -c 'rm -rf /run/containerd && exec ./containerd --config containerd.toml'`

const rootlessConfig = `version = 2
root = %q
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
	"io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "/run/containerd/containerd.sock"
`

// hostFromInside is the address of the machine's loopback in the network
// namespace of slirp4netns. It is not reachable from outside.
const hostFromInside = "10.0.2.2"

// rootless is an ordinary user's containerd under RootlessKit.
type rootless struct {
	dir string // holds the programs, home and run
	pid string // of RootlessKit's child
	log bytes.Buffer
}

// newRootless starts RootlessKit and waits for the daemon in it.
func newRootless(t *testing.T) *rootless {
	t.Helper()
	dir, err := os.MkdirTemp("", "rootless") // other users cannot enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rootless{dir: dir}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{programName: self, "containerd": tool("containerd"), "ctr": tool("ctr"), "nerdctl": nerdctl} {
		copyProgram(t, from, filepath.Join(dir, name))
	}
	for _, name := range []string{"home", "run"} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o700), os.Chown(filepath.Join(dir, name), rootlessUser, rootlessUser)); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(rootlessConfig, filepath.Join(dir, "home/.local/share/containerd"))
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "containerd.toml"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	return r
}

// nerdctl is the program that .ci/setup built.
const nerdctl = "../../.ci/tools/nerdctl/nerdctl"

// tool returns the path of a program of containerd that .ci/setup built.
func tool(name string) string { return filepath.Join("../../.ci/tools/bin/2.4", name) }

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	syscall.ForkLock.RLock() // a child that holds the file open would make it unexecutable
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

func (r *rootless) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sh", "-c", becomeRootless, "sh", r.dir, fmt.Sprint(rootlessUser))
	cmd.Env = r.env()
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			t.Error("RootlessKit did not end")
		}
	})
	for range 300 {
		text, _ := os.ReadFile(filepath.Join(r.dir, "run/containerd-rootless/child_pid"))
		r.pid = string(text)
		if conn, err := net.Dial("unix", r.socket()); r.pid != "" && err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("RootlessKit ended: %v\n%s", err, &r.log)
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatal("rootless containerd does not answer")
}

// socket returns the path of the daemon's socket as seen from outside.
func (r *rootless) socket() string {
	return "/proc/" + r.pid + "/root/run/containerd/containerd.sock"
}

func (r *rootless) env() []string {
	const race = "GORACE=atexit_sleep_ms=0" // saves a second for each process
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir + "/home", "XDG_RUNTIME_DIR=" + r.dir + "/run", race}
}

// command returns a call of a program by the user, with additional variables.
func (r *rootless) command(t *testing.T, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = filepath.Join(r.dir, "home")
	cmd.Env = append(r.env(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: rootlessUser, Gid: rootlessUser}}
	return cmd
}

// run returns the output of the program and its exit code.
func (r *rootless) run(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := r.command(t, env, filepath.Join(r.dir, programName), args...)
	var out, errOut bytes.Buffer
	cmd.Stdin = strings.NewReader("canary\n")
	cmd.Stdout, cmd.Stderr = &out, &errOut
	code = exitCode(t, cmd.Run())
	return out.String(), errOut.String(), code
}

// images returns the names of the daemon's images, as listed by ctr inside.
func (r *rootless) images(t *testing.T) string {
	t.Helper()
	cmd := r.command(t, nil, "nsenter", "--preserve-credentials", "-U", "-m", "-t", r.pid, filepath.Join(r.dir, "ctr"), "images", "ls", "-q")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing images: %v: %s", err, &errOut)
	}
	return string(out)
}

func (r *rootless) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(r.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// needRootless skips the test if RootlessKit is not available. In CI that is a
// failure.
func needRootless(t *testing.T) {
	t.Helper()
	needRootAnd(t, "rootlesskit", "slirp4netns", "newuidmap", "nsenter", "setpriv", tool("containerd"), tool("ctr"), nerdctl)
}

// needRootAnd skips the test of a process that is not root's, or lacks programs. In
// CI that is a failure.
func needRootAnd(t *testing.T, programs ...string) {
	t.Helper()
	var missing []string
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	switch {
	case missing == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("needed under CI: %s", strings.Join(missing, ", "))
	default:
		t.Skipf("needed: %s", strings.Join(missing, ", "))
	}
}

// TestRootless pulls as an ordinary user into that user's containerd, which has
// namespaces, network and paths of its own.
func TestRootless(t *testing.T) {
	long(t)
	needRootless(t)
	w := newWorld(t)
	registry, err := url.Parse(w.registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	inside := hostFromInside + ":" + registry.Port()
	r := newRootless(t)
	pull := []string{"--plain-http", "--progress", "none"}

	// Interrupted before any layer is stored. The signal goes to the process that
	// was started: execve keeps its ID.
	t.Run("signal", func(t *testing.T) {
		cmd := r.command(t, nil, filepath.Join(r.dir, programName), append(pull, inside+"/stalling")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.stalls(t)
		cmd.Process.Signal(os.Interrupt)
		if got := exitCode(t, cmd.Wait()); got != 130 {
			t.Errorf("got code %d after SIGINT, want 130", got)
		}
	})
	t.Run("inside", func(t *testing.T) {
		ref := inside + "/good:latest"
		if stdout, stderr, code := r.run(t, nil, append(pull, ref)...); code != 0 || stdout != ref+"\n" {
			t.Fatalf("got code %d, %q and %s", code, stdout, stderr)
		}
		if got := r.images(t); !strings.Contains(got, ref) {
			t.Errorf("got images %q, want %s", got, ref)
		}
		if _, stderr, code := r.run(t, nil, "verify", ref); code != 0 || !strings.Contains(stderr, "1 image whole") {
			t.Errorf("verify: got code %d and %s", code, stderr)
		}
		if stdout, stderr, code := r.run(t, nil, "gc"); code != 0 || !strings.Contains(stdout, "freed 0 leases") {
			t.Errorf("gc: got code %d, %q and %s", code, stdout, stderr)
		}
		if _, stderr, code := r.run(t, nil, append(pull, inside+"/missing")...); code != 4 {
			t.Errorf("what is not there: got code %d and %s, want 4", code, stderr)
		}
	})
	t.Run("nerdctl", func(t *testing.T) { testRootlessNerdctl(t, r, inside+"/good:latest") })
	// stdin is not read outside, and relative paths keep their meaning.
	t.Run("password and paths", func(t *testing.T) {
		r.write(t, "home/sub/conf.toml", `labels = { "example.com/a" = "b" }`)
		args := append(pull, "--config", "sub/conf.toml", "-u", "me", "--password-stdin", inside+"/private")
		if _, stderr, code := r.run(t, nil, args...); code != 0 {
			t.Errorf("got code %d and %s", code, stderr)
		}
	})
	t.Run("hosts directory", func(t *testing.T) {
		r.write(t, "home/.config/containerd/certs.d/app.example/hosts.toml", fmt.Sprintf("server = \"http://%s\"\n", inside))
		if _, stderr, code := r.run(t, nil, "--progress", "none", "app.example/good"); code != 0 {
			t.Errorf("got code %d and %s", code, stderr)
		}
	})
	t.Run("profile check", func(t *testing.T) {
		if stdout, stderr, code := r.run(t, nil, "profile", "check", "--online"); code != 0 {
			t.Errorf("got code %d, %q and %s", code, stdout, stderr)
		}
	})
	t.Run("outside", func(t *testing.T) { testRootlessOutside(t, r, w.host()) })
	t.Run("broken", func(t *testing.T) { testRootlessBroken(t, r) })
	t.Run("stale", func(t *testing.T) { testL9StaleChild(t, r) })
	t.Run("descriptors", func(t *testing.T) { testL9Descriptors(t, r, inside) })
}

// testRootlessNerdctl tests that nerdctl, which enters the namespaces by
// itself, meets the same images, in both directions and through the shim.
func testRootlessNerdctl(t *testing.T, r *rootless, ref string) {
	shims := filepath.Join(r.dir, "home/shims")
	if err := errors.Join(os.Mkdir(shims, 0o755), os.Symlink(filepath.Join(r.dir, programName), filepath.Join(shims, "nerdctl"))); err != nil {
		t.Fatal(err)
	}
	path := []string{"PATH=" + shims + ":" + r.dir + ":" + os.Getenv("PATH")}
	call := func(program, want string, args ...string) {
		t.Helper()
		cmd := r.command(t, path, program, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || want != "" && string(out) != want {
			t.Errorf("%s %q: got %q, %v, %s, want %q", program, args, out, err, &stderr, want)
		}
	}
	direct, shim := filepath.Join(r.dir, "nerdctl"), filepath.Join(shims, "nerdctl")
	listed := ref + "\n" + ref + "\n" // a line for each of the two platforms
	call(direct, listed, "images", "--names", "--format", "{{.Name}}")
	call(shim, listed, "images", "--names", "--format", "{{.Name}}")
	call(shim, ref+"\n", "--namespace", "default", "pull-ext", "--policy", "never", "-q", ref)
	call(direct, "", "image", "inspect", ref)
	call(direct, "", "rmi", ref)
	call(direct, "", "--insecure-registry", "pull", "--quiet", ref)
	call(shim, "0 false\n", "pull-ext", "--policy", "never", "--progress", "none", "--format", "go-template={{.bytesFetched}} {{.changed}}", ref)
	call(filepath.Join(r.dir, programName), "", "verify", ref)
}

// testRootlessOutside tests calls that do not enter the namespaces: the
// registry's address is on the machine's loopback, and nsenter is not on PATH.
func testRootlessOutside(t *testing.T, r *rootless, host string) {
	none := []string{"PATH=" + t.TempDir()}
	for _, args := range [][]string{
		{"--address", r.socket(), "--progress", "none", host + "/good"},
		{"--root", filepath.Join(r.dir, "home/root"), "--progress", "none", "--unpack=false", host + "/good"},
		{"version"}, {"help"}, {"help", "engines"}, {"--help"}, {"config", "show"}, {"profile", "list"},
		{"hosts", "check", host + "/good"},
	} {
		if _, stderr, code := r.run(t, none, args...); code != 0 {
			t.Errorf("%q: got code %d and %s", args, code, stderr)
		}
	}
	if got := r.images(t); !strings.Contains(got, host+"/good:latest") {
		t.Errorf("got images %q, want %s/good", got, host)
	}
	if _, stderr, code := r.run(t, none, "nonsense/UPPER"); code != 2 {
		t.Errorf("a bad reference: got code %d and %s, want 2", code, stderr)
	}
}

// testRootlessBroken tests states of RootlessKit that cannot be entered, and one
// whose namespaces are those of the process.
func testRootlessBroken(t *testing.T, r *rootless) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, pid string
		env       []string
		want      []string
	}{
		{"no nsenter", r.pid, []string{"PATH=/nonexistent"}, []string{"nsenter is not on PATH", "hint: install util-linux", r.socket()}},
		{"ended", fmt.Sprint(gone.Process.Pid), nil, []string{"has ended", "hint: start it again"}},
		{"no number", "many", nil, []string{`got "many", want the number of a process`, "hint: start it again"}},
		{"that of another user", fmt.Sprint(os.Getpid()), nil, []string{"permission denied", "ROOTLESSKIT_STATE_DIR"}},
	} {
		dir := "states/" + tc.name
		r.write(t, dir+"/child_pid", tc.pid)
		_, stderr, code := r.run(t, append(tc.env, "ROOTLESSKIT_STATE_DIR="+filepath.Join(r.dir, dir)), "alpine")
		if code != 3 {
			t.Errorf("%s: got code %d, want 3", tc.name, code)
		}
		for _, want := range tc.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: got %q, want %q", tc.name, stderr, want)
			}
		}
	}
	// A process in the namespaces of this one: nothing is entered.
	same := r.command(t, nil, "sleep", "60")
	if err := same.Start(); err != nil {
		t.Fatal(err)
	}
	defer same.Wait()
	defer same.Process.Kill()
	r.write(t, "states/same/child_pid", fmt.Sprint(same.Process.Pid))
	_, stderr, code := r.run(t, []string{"ROOTLESSKIT_STATE_DIR=" + filepath.Join(r.dir, "states/same"), "CONTAINERD_PULL_CONNECT_TIMEOUT=1s"}, "alpine")
	if code != 3 || !strings.Contains(stderr, "/run/containerd/containerd.sock") {
		t.Errorf("its own namespaces: got code %d and %q, want 3 and the socket that is not there", code, stderr)
	}
}

// testL9StaleChild tests numbers of processes that are not RootlessKit's child of
// now, and folders that another user can write: nothing is entered.
func testL9StaleChild(t *testing.T, r *rootless) {
	// inShell starts a program by a shell of the user and returns its number.
	inShell := func(program string) string {
		t.Helper()
		cmd := r.command(t, nil, "sh", "-c", program+` & echo $!; wait`)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr.Setpgid = true
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
		})
		var pid string
		if _, err := fmt.Fscan(out, &pid); err != nil {
			t.Fatal(err)
		}
		for range 300 { // until it is in its namespaces
			theirs, _ := os.Readlink("/proc/" + pid + "/ns/user")
			if own, err := os.Readlink("/proc/self/ns/user"); err == nil && theirs != "" && theirs != own {
				return pid
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("the process entered no namespace")
		return ""
	}
	container := "nsenter --preserve-credentials -U -m -t " + r.pid + " -F unshare -m sleep 60"
	for name, c := range map[string]struct {
		pid   string
		spoil func(dir string) error
		want  []string
	}{
		"a user namespace of the user's": {inShell("unshare -U -r sleep 60"), nil, []string{"is no child of RootlessKit", "is not rootlesskit", "hint: start it again"}},
		"a container's process":          {inShell(container), nil, []string{"is no child of RootlessKit", "hint: start it again"}},
		"the daemon in RootlessKit":      {childOf(t, r.pid), nil, []string{"is no child of RootlessKit", "hint: start it again"}},
		"another's folder":               {r.pid, func(dir string) error { return os.Chown(filepath.Join(dir, "child_pid"), 4243, 4243) }, []string{"belongs to uid 4243", "ROOTLESSKIT_STATE_DIR"}},
		"a file for all":                 {r.pid, func(dir string) error { return os.Chmod(filepath.Join(dir, "child_pid"), 0o666) }, []string{"can be written by every user", "ROOTLESSKIT_STATE_DIR"}},
	} {
		dir := "states/" + strings.ReplaceAll(name, "'", "")
		r.write(t, dir+"/child_pid", c.pid)
		if c.spoil != nil {
			if err := c.spoil(filepath.Join(r.dir, dir)); err != nil {
				t.Fatal(err)
			}
		}
		_, stderr, code := r.run(t, []string{"ROOTLESSKIT_STATE_DIR=" + filepath.Join(r.dir, dir)}, "alpine")
		if code != 3 {
			t.Errorf("%s: got code %d and %q, want 3", name, code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: got %q, want %q", name, stderr, want)
			}
		}
	}
}

// childOf returns the number of a child of a process, once it has one: what starts it
// may not have come so far.
func childOf(t *testing.T, pid string) string {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob("/proc/" + pid + "/task/*/children") // each lists its own
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			text, _ := os.ReadFile(thread) // a thread may have ended
			if fields := strings.Fields(string(text)); len(fields) > 0 {
				return fields[0]
			}
		}
	}
	t.Fatalf("process %s has no children", pid)
	return ""
}

// testL9Descriptors tests that programs which a pull executes inside get no handle
// of a namespace.
func testL9Descriptors(t *testing.T, r *rootless, host string) {
	r.write(t, "home/bin/open", "#!/bin/sh\nls -l /proc/self/fd >$HOME/open\necho canary\n")
	if err := errors.Join(os.Chmod(filepath.Join(r.dir, "home/bin/open"), 0o755), os.Chown(filepath.Join(r.dir, "home"), rootlessUser, rootlessUser)); err != nil {
		t.Fatal(err)
	}
	r.write(t, "home/open.toml", fmt.Sprintf("[profiles.p]\nmatch = [%q]\ncredentials = { source = 'password', username = 'me', password_command = ['open'] }\n", host))
	path := []string{"PATH=" + filepath.Join(r.dir, "home/bin") + ":" + os.Getenv("PATH")}
	if _, stderr, code := r.run(t, path, "--plain-http", "--progress", "none", "--policy", "always", "--config", "open.toml", host+"/private"); code != 0 {
		t.Fatalf("got code %d and %s", code, stderr)
	}
	list, err := os.ReadFile(filepath.Join(r.dir, "home/open"))
	if err != nil || strings.Contains(string(list), "user:[") || strings.Contains(string(list), "mnt:[") {
		t.Errorf("the program got: %s, %v", list, err)
	}
}
