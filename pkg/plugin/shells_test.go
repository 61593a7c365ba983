package plugin_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

// place is a machine with the program, nerdctl, a daemon, and distribution's
// registry.
type place struct {
	dir      string
	digest   string // of busybox:1, once that is in the registry
	registry *testregistry.Distribution
	daemon   *testdaemon.Daemon
}

func newPlace(t *testing.T) *place {
	pulltest.Need(t, pulltest.Program("bash"), pulltest.Program("zsh"), pulltest.Program("fish"), bashCompletion, pulltest.Tools(pulltest.Nerdctl))
	p := &place{dir: t.TempDir(), registry: testregistry.StartDistribution(t, testregistry.DistributionOptions{}), daemon: testdaemon.Start(t, testdaemon.Options{})}
	p.build(t, "containerd-pull", "../../cmd/containerd-pull")
	path, err := pulltest.Tool(pulltest.Nerdctl)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(p.dir, "bin/nerdctl")); err != nil {
		t.Fatal(err)
	}
	img := pulltest.SmallImage(pulltest.Gzip)
	for _, name := range []string{"team/app:1.9", "team/app:1.10", "team/app:edge", "web:1"} {
		if err := p.registry.Push(t.Context(), name, img); err != nil {
			t.Fatal(err)
		}
	}
	p.write(t, "home/.config/containerd-pull/config.toml", "[profiles.prod]\nmatch = [\""+p.registry.Host()+"/*\"]\n[profiles.play]\n")
	p.write(t, "home/.inputrc", "set show-all-if-ambiguous on\nset page-completions off\nset completion-query-items 0\nset enable-bracketed-paste off\n")
	p.run(t, "containerd-pull", "-n", "k8s.io", "--unpack=false", "-q", p.registry.Ref("web:1"))
	return p
}

const bashCompletionFile = "/usr/share/bash-completion/bash_completion"

func bashCompletion() error {
	_, err := os.Stat(bashCompletionFile)
	return err
}

func (p *place) build(t *testing.T, name, source string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(p.dir, "bin", name), source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v: %s", name, err, out)
	}
}

func (p *place) write(t *testing.T, name, text string) string {
	t.Helper()
	return (&world{p.dir}).write(t, name, text)
}

func (p *place) env(more ...string) []string {
	return slices.Concat([]string{
		"HOME=" + filepath.Join(p.dir, "home"), "PATH=" + filepath.Join(p.dir, "bin") + ":/usr/bin:/bin", "TERM=xterm",
		"LANG=C.UTF-8",
		"XDG_CONFIG_HOME=" + filepath.Join(p.dir, "home/.config"), "INPUTRC=" + filepath.Join(p.dir, "home/.inputrc"),
	}, p.daemon.NerdctlEnv(), more)
}

func (p *place) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.dir, "bin", name), args...)
	cmd.Env = p.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// start opens a shell with completion for the program and for nerdctl, and with
// the function of Init.
func (p *place) start(t *testing.T, shell string) *terminal {
	var cmd *exec.Cmd
	text, err := os.ReadFile("../../completions/containerd-pull." + shell)
	if err != nil {
		t.Fatal(err)
	}
	file := p.write(t, "completion."+shell, string(text))
	switch shell {
	case "bash":
		cmd = exec.Command("bash", "--norc", "-i")
	case "zsh":
		cmd = exec.Command("zsh", "-f", "-i")
	case "fish":
		cmd = exec.Command("fish", "--private", "--no-config", "-i")
	}
	cmd.Env = p.env("SHELL=/bin/sh")
	term := open(t, cmd)
	setup := map[string]string{
		"bash": "source " + bashCompletionFile + "; source " + file + `; source <(command nerdctl completion bash); eval "$(containerd-pull shell-init bash)"; PS1='$ '`,
		"zsh":  "autoload -Uz compinit; compinit -D; source " + file + `; source <(command nerdctl completion zsh); eval "$(containerd-pull shell-init zsh)"; PS1='$ '`,
		"fish": "source " + file + "; command nerdctl completion fish | source; containerd-pull shell-init fish | source; set -g fish_greeting",
	}
	term.send(setup[shell] + "\r")
	term.clear()
	return term
}

// TestTab presses TAB where users do.
func TestTab(t *testing.T) {
	pulltest.Long(t)
	p := newPlace(t)
	host := p.registry.Host()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			term := p.start(t, shell)
			for _, tc := range []struct {
				line string
				want []string
			}{
				{"containerd-pull \t\t", []string{"verify", "completion", "shell-init", "/team/app:"}}, // fish shortens long words
				{"containerd-pull " + host + "/team/app:\t\t", []string{"1.10", "1.9", "edge"}},
				{"containerd-pull " + host + "/team/app:e\t", []string{host + "/team/app:edge "}},
				{"containerd-pull -p \t\t", []string{"prod", "play"}},
				{"containerd-pull --policy \t\t", []string{"always", "missing", "newer", "never"}},
				{"containerd-pull -n k8s.io verify \t", []string{host + "/web:1"}},
				{"containerd-pull --namespace k\t", []string{"k8s.io"}},
				{"nerdctl -n k8s.io pull-ext \t\t", []string{"/web:1", "/team/app:"}},
				{"nerdctl -n k8s.io pull-ext --po\t", []string{"--policy"}},
				{"nerdctl pul\t\t", []string{"pull-ext"}},
				{"nerdctl pull --platform \t\t", []string{"ppc64le", "riscv64"}},
				{"nerdctl --namespace \t\t", []string{"k8s.io"}},
			} {
				term.send(tc.line)
				term.expect(tc.want...)
				term.clear()
			}
			term.send("nerdctl -n k8s.io pull-ext --unpack=false -q --policy never " + host + "/web:1\r")
			term.expect("\n" + host + "/web:1\n")
			term.send("nerdctl -n k8s.io images --names --format 'nerdctl lists {{.Name}}'\r")
			term.expect("nerdctl lists " + host + "/web:1")
		})
	}
	t.Run("docker", p.testDocker)
	t.Run("kubectl", p.testKubectl)
}

// testDocker lets Docker's own client find and call the plugin.
func (p *place) testDocker(t *testing.T) {
	pulltest.Need(t, pulltest.Tools("docker"))
	docker, err := pulltest.Tool("docker")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(p.dir, "docker")
	plugins := filepath.Join(folder, "cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(p.dir, "bin/containerd-pull"), filepath.Join(plugins, plugin.DockerPlugin)); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), docker, append([]string{"--config", folder}, args...)...)
		cmd.Env = p.env()
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := call("info", "--format", "{{json .ClientInfo.Plugins}}"); !holdsPlugin(out) {
		t.Errorf("docker info: got %s, %v; want the plugin", out, err)
	}
	if out, err := call("pullext", "-n", "k8s.io", "-q", "--policy", "never", "--unpack=false", p.registry.Ref("web:1")); err != nil || out != p.registry.Ref("web:1")+"\n" {
		t.Errorf("docker pullext: got %s, %v", out, err)
	}
	if out, err := call("pullext", "--nonsense"); err == nil || !strings.Contains(out, "unknown flag: --nonsense") {
		t.Errorf("a flag that there is not: got %s, %v", out, err)
	}
	if out, err := call("help", "pullext"); err != nil || !strings.Contains(out, "docker pullext [flags] REF") {
		t.Errorf("docker help pullext: got %s, %v", out, err)
	}
	if out, err := call("-H", "tcp://127.0.0.1:1", "pullext", "alpine"); err == nil || !strings.Contains(out, "chooses a Docker engine") {
		t.Errorf("docker -H pullext: got %s, %v", out, err)
	}
}

// holdsPlugin reports whether the answer of docker info lists the plugin as
// valid; what follows the first line is about the missing engine.
func holdsPlugin(out string) bool {
	line, _, _ := strings.Cut(out, "\n")
	var plugins []struct{ Name, Vendor, Err string }
	if err := json.Unmarshal([]byte(line), &plugins); err != nil {
		return false
	}
	for _, p := range plugins {
		if p.Name == "pullext" && p.Vendor == "containerd-pull" && p.Err == "" {
			return true
		}
	}
	return false
}

// testKubectl calls the plugin and its completion as kubectl does: found on
// PATH by their names, executed with what follows the command, and for
// completion with the word to be completed as the last argument.
func (p *place) testKubectl(t *testing.T) {
	for _, name := range []string{plugin.KubectlPlugin, plugin.KubectlCompletions} {
		if err := os.Symlink("containerd-pull", filepath.Join(p.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	ref := p.registry.Ref("web:1")
	if got := p.run(t, plugin.KubectlPlugin, "-q", "--policy", "never", "--unpack=false", ref); got != ref+"\n" {
		t.Errorf("kubectl pull-ext: got %q, want the image of k8s.io", got)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.dir, "bin", plugin.KubectlCompletions), "verify", "")
	cmd.Env = p.env()
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), ref+"\t") || !strings.HasSuffix(string(out), "\n:36\n") {
		t.Errorf("completion: got %q, %v; want the image of k8s.io and a directive", out, err)
	}
}

// BenchmarkStart measures how long a shell waits for candidates that need no
// store and no registry.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	program := filepath.Join(dir, "containerd-pull")
	build := exec.Command("go", "build", "-o", program, "../../cmd/containerd-pull")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for b.Loop() {
		cmd := exec.Command(program, "__complete", "--policy", "")
		cmd.Env = []string{"HOME=" + dir}
		if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "always") {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
