package plugin_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

// TestNerdctl lets the real nerdctl and the program meet, on one daemon.
func TestNerdctl(t *testing.T) {
	pulltest.Long(t)
	p := newPlace(t)
	p.pushBusybox(t)
	p.installShim(t)
	p.run(t, "containerd-pull", "-q", p.registry.Ref("busybox:1"))
	t.Run("positions", p.testPositions)
	t.Run("untouched", p.testUntouched)
	t.Run("signals", p.testSignals)
	t.Run("sudo", p.testSudo)
	t.Run("images", p.testImages)
	t.Run("present", p.testPresent)
}

// installShim makes the shim, in a folder that stands before nerdctl's where a
// way through it is tested.
func (p *place) installShim(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(p.dir, "sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.run(t, "containerd-pull", "shim", "install", filepath.Join(p.dir, "sbin"))
}

// ways are how a user may call nerdctl: each is a command that executes a line
// of a shell.
func (p *place) ways(t *testing.T) map[string]func(line string) *exec.Cmd {
	t.Helper()
	all := map[string]func(string) *exec.Cmd{"shim": func(line string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Env = p.env("PATH=" + filepath.Join(p.dir, "sbin") + ":" + filepath.Join(p.dir, "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin")
		return cmd
	}}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script, err := plugin.Init(shell)
		if err != nil {
			t.Fatal(err)
		}
		init := p.write(t, "init."+shell, script)
		all[shell] = func(line string) *exec.Cmd {
			cmd := exec.CommandContext(t.Context(), shell, "-c", "source "+init+"\n"+line)
			cmd.Env = p.env()
			return cmd
		}
	}
	return all
}

// testPositions: what nerdctl accepts before and behind a command means the
// same to pull-ext. The image is in the namespace k8s.io alone, and is not
// fetched, so that only a call that is led there succeeds.
func (p *place) testPositions(t *testing.T) {
	ref := p.registry.Ref("web:1")
	address := p.daemon.Address
	toml := p.write(t, "k8s.toml", "namespace = \"k8s.io\"\naddress = \""+address+"\"\n")
	lines := []string{
		"nerdctl -n k8s.io COMMAND", "nerdctl -nk8s.io COMMAND", "nerdctl -n=k8s.io COMMAND", "nerdctl --n k8s.io COMMAND", "nerdctl --n=k8s.io COMMAND",
		"nerdctl --namespace k8s.io COMMAND", "nerdctl --namespace=k8s.io COMMAND",
		"nerdctl -n k8s.io image COMMAND", "nerdctl image --namespace k8s.io COMMAND", "nerdctl --debug image --namespace=k8s.io COMMAND",
		"nerdctl -n other -n k8s.io COMMAND",
		"nerdctl -n k8s.io -a " + address + " COMMAND", "nerdctl -n k8s.io -H unix://" + address + " COMMAND",
		"nerdctl -n k8s.io --a " + address + " COMMAND", "nerdctl -n k8s.io --H=" + address + " COMMAND",
		"export CONTAINERD_ADDRESS=/nonexistent; nerdctl --address=" + address + " --host " + address + " -n k8s.io COMMAND",
		"export CONTAINERD_NAMESPACE=k8s.io; nerdctl COMMAND", "export CONTAINERD_NAMESPACE=other; nerdctl -n k8s.io COMMAND",
		"export NERDCTL_TOML=" + toml + "; nerdctl COMMAND",
		"nerdctl --data-root /x --cni-path=/y --cgroup-manager cgroupfs --kube-hide-dupe --insecure-registry --debug-full --experimental=false -n k8s.io COMMAND",
		"nerdctl --storage-driver overlayfs --hosts-dir /etc/a,/etc/b -n k8s.io COMMAND",
		"nerdctl COMMAND --data-root /x --namespace k8s.io --cgroup-manager=cgroupfs --kube-hide-dupe", "nerdctl COMMAND --namespace k8s.io", "nerdctl image COMMAND --namespace k8s.io --address " + address,
	}
	ways := p.ways(t)
	for _, line := range lines {
		p.position(t, ways, line, ref)
	}
}

// position wants one line to print the image by nerdctl's own command, and in
// each way by pull-ext.
func (p *place) position(t *testing.T, ways map[string]func(string) *exec.Cmd, line, ref string) {
	t.Helper()
	list := "images"
	if strings.Contains(line, " image ") {
		list = "ls"
	}
	p.prints(t, ways["shim"], strings.Replace(line, "COMMAND", list+" --names --format '{{.Name}}'", 1), ref)
	for _, way := range ways {
		p.prints(t, way, strings.Replace(line, "COMMAND", "pull-ext --policy never --unpack=false -q "+ref, 1), ref)
	}
}

// prints wants a line to print a reference.
func (p *place) prints(t *testing.T, way func(string) *exec.Cmd, line, ref string) {
	t.Helper()
	cmd := way(line)
	out, err := cmd.Output()
	if err != nil || string(out) != ref+"\n" {
		t.Errorf("%s: %s: got %q, %v, want %s", cmd.Path, line, out, withStderr(err), ref)
	}
}

func withStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return errors.New(exit.String() + ": " + string(exit.Stderr))
	}
	return err
}

// ending is what a caller sees of a command.
type ending struct {
	Stdout, Stderr string
	State          string // exit code or signal
}

// chance is what differs between two runs of nerdctl on its own: the time, and
// whether it tries to pass on a signal to a container that has just ended.
var chance = regexp.MustCompile(`(?m)^time="[^"]*" (level=error msg="forward signal child exited" error="ttrpc: closed"\n)?`)

// ended runs a command to its end.
func ended(t *testing.T, cmd *exec.Cmd, stdin string) ending {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return ending{stdout.String(), chance.ReplaceAllString(stderr.String(), ""), cmd.ProcessState.String()}
}

// testUntouched: what is not pull-ext is nerdctl's, byte for byte, through the
// shim and the function of each shell.
func (p *place) testUntouched(t *testing.T) {
	box := p.registry.Ref("busybox:1")
	lines := []string{
		"nerdctl", "nerdctl --help", "nerdctl --version", "nerdctl image", "nerdctl pull --help",
		"nerdctl ps -a", "nerdctl images --no-trunc -q", "nerdctl -n k8s.io image ls --names --format '{{.Name}}'", "nerdctl image inspect " + box,
		"nerdctl nonsense", "nerdctl image nonsense", "nerdctl --nonsense", "nerdctl ps --nonsense", "nerdctl pull-extra a", "nerdctl image pull",
		"nerdctl inspect none", "nerdctl -n", "nerdctl -a /nonexistent images", "nerdctl pull 127.0.0.1:1/none", "nerdctl run --pull never none",
		"nerdctl -n '' images", "nerdctl inspect 'two  words' '*' ''", "nerdctl completion bash", "nerdctl __complete pull --pl", "nerdctl __complete run --net ''",
		"nerdctl run --rm --net none --pull never " + box + " sh -c 'echo out; echo err >&2; exit 7'",
		"nerdctl run --rm -i --net none --pull never " + box + " sh -c 'read a; echo got $a'",
		"nerdctl load -i /nonexistent", "nerdctl load",
	}
	ways := p.ways(t)
	for _, line := range lines {
		direct := exec.CommandContext(t.Context(), "sh", "-c", line)
		direct.Env = p.env()
		want := ended(t, direct, "stdin\n")
		for name, way := range ways {
			if diff := cmp.Diff(want, ended(t, way(line), "stdin\n")); diff != "" {
				t.Errorf("%s: %s (-nerdctl +%s):\n%s", line, name, name, diff)
			}
		}
	}
}

// testSignals: a signal ends nerdctl behind the shim as it ends nerdctl, and
// comes to its container.
func (p *place) testSignals(t *testing.T) {
	box := p.registry.Ref("busybox:1")
	// nerdctl begins to pass signals on some time after the container has begun.
	trapping := []string{"run", "--rm", "--net", "none", "--pull", "never", box, "sh", "-c", "trap 'echo caught; exit 9' TERM; sleep 2; echo begun; while :; do sleep 0.1; done"}
	for _, tc := range []struct {
		signal syscall.Signal
		args   []string
		want   ending
	}{
		{syscall.SIGINT, []string{"events"}, ending{State: "signal: interrupt"}},
		{syscall.SIGTERM, []string{"events"}, ending{State: "signal: terminated"}},
		{syscall.SIGTERM, trapping, ending{Stdout: "begun\ncaught\n", State: "exit status 9"}},
	} {
		for _, program := range []string{"bin/nerdctl", "sbin/nerdctl"} {
			if diff := cmp.Diff(tc.want, p.interrupted(t, filepath.Join(p.dir, program), tc.signal, tc.args)); diff != "" {
				t.Errorf("%v to %s %s (-want +got):\n%s", tc.signal, program, tc.args[0], diff)
			}
		}
	}
}

// interrupted sends a signal to a program that has begun its work.
func (p *place) interrupted(t *testing.T, program string, sig syscall.Signal, args []string) ending {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env, cmd.Stderr = p.env(), &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make([]byte, 256)
	n := 0
	if args[0] == "run" {
		var err error
		n, err = stdout.Read(seen)
		if err != nil {
			t.Fatal(err)
		}
	} else {
		p.subscribed(t, cmd.Process.Pid)
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	var rest bytes.Buffer
	_, err = rest.ReadFrom(stdout)
	cmd.Wait() // its state says how it ended
	if err != nil {
		t.Fatal(err)
	}
	return ending{string(seen[:n]) + rest.String(), chance.ReplaceAllString(stderr.String(), ""), cmd.ProcessState.String()}
}

// subscribed waits until a process is nerdctl and has a connection.
func (p *place) subscribed(t *testing.T, pid int) {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	for range 1000 {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		files, _ := filepath.Glob(filepath.Join(dir, "fd/*"))
		for _, file := range files {
			if target, _ := os.Readlink(file); strings.HasPrefix(target, "socket:") && !strings.HasPrefix(string(line), p.dir+"/sbin/") {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nerdctl does not connect")
}

// inSudo is a script in a mount namespace of its own: the machine there has the
// programs in /usr/local, and an ordinary user who may do everything by sudo.
const inSudo = `set -e
mount --make-rprivate /
mount --bind "$1/sbin" /usr/local/sbin
mount --bind "$1/bin" /usr/local/bin
mount --bind "$1/sudoers" /etc/sudoers
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`

const sudoers = `Defaults env_reset
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
#65534 ALL=(ALL:ALL) NOPASSWD: ALL
`

// testSudo: sudo knows no functions and no variables of the user, so that the
// shim is what knows pull-ext there.
func (p *place) testSudo(t *testing.T) {
	pulltest.Need(t, pulltest.Program("sudo"))
	if err := os.Chmod(p.write(t, "sudoers", sudoers), 0o440); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) ending {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", inSudo, "sh", p.dir, "sudo", "-n"}, args...)...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return ended(t, cmd, "")
	}
	ref := p.registry.Ref("web:1")
	got := call("nerdctl", "--address", p.daemon.Address, "-n", "k8s.io", "pull-ext", "--policy", "never", "--unpack=false", "-q", ref)
	if got.Stdout != ref+"\n" || got.State != "exit status 0" {
		t.Errorf("sudo nerdctl pull-ext: got %+v, want the image", got)
	}
	for _, args := range [][]string{
		{"--address", p.daemon.Address, "-n", "k8s.io", "images", "--names", "--format", "{{.Name}}"},
		{"--version"}, {"nonsense"}, {"--address", "/nonexistent", "images"},
	} {
		direct := call(append([]string{"/usr/local/bin/nerdctl"}, args...)...)
		if diff := cmp.Diff(direct, call(append([]string{"nerdctl"}, args...)...)); diff != "" {
			t.Errorf("sudo nerdctl %q (-nerdctl +shim):\n%s", args, diff)
		}
	}
}
