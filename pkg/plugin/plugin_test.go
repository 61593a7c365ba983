package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		line string
		want plugin.Call
	}{
		{"pull-ext alpine", plugin.Call{IsPull: true, Args: []string{"alpine"}}},
		{"-n k8s.io --debug pull-ext -q alpine", plugin.Call{IsPull: true, Args: []string{"-n", "k8s.io", "--debug", "-q", "alpine"}}},
		{"--data-root /x --cgroup-manager=y --kube-hide-dupe -a s image pull-ext alpine", plugin.Call{IsPull: true, Args: []string{"-a", "s", "alpine"}}},
		{"__complete --namespace=k8s.io pull-ext _", plugin.Call{IsPull: true, Args: []string{"__complete", "--namespace=k8s.io", ""}}},
		{"pull-ext --data-root /x -q --selinux-enabled alpine --cni-path=y -- --data-root", plugin.Call{IsPull: true, Args: []string{"-q", "alpine", "--", "--data-root"}}},
		{"__complete pull-ext --data-root /x --selinux-enabled", plugin.Call{IsPull: true, Args: []string{"__complete", "--selinux-enabled"}}},
		{"-n pull-ext ps", plugin.Call{}},
		{"image image pull-ext", plugin.Call{}},
		{"pull pull-ext", plugin.Call{}},
		{"__complete pull-ext", plugin.Call{Candidates: []string{"pull-ext\tPull images by containerd-pull"}}},
		{"__completeNoDesc _", plugin.Call{Candidates: []string{"pull-ext"}}},
		{"__complete -n _", plugin.Call{}},
		{"__complete image pu", plugin.Call{Candidates: []string{"pull-ext\tPull images by containerd-pull"}}},
		{"__complete -", plugin.Call{}},
	} {
		if diff := cmp.Diff(tc.want, plugin.Parse(fields(tc.line))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.line, diff)
		}
	}
}

// fields splits a command line in which _ is an empty word and ~ a blank.
func fields(line string) []string {
	args := strings.Fields(line)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "~", " ")
		if a == "_" {
			args[i] = ""
		}
	}
	return args
}

// lines are command lines that the shell functions have to understand as Parse
// does.
func lines() []string {
	all := []string{
		"", "ps", "pull-ext", "pull-ext alpine", "image pull-ext a b", "image pull alpine", "image", "image image pull-ext",
		"-n k8s.io pull-ext -q two~words _", "-a s -H s -n x --snapshotter y --storage-driver z --hosts-dir d pull-ext a",
		"--a s --H s --n x --address s --host s --namespace=x pull-ext a", "-n", "-n pull-ext", "-n pull-ext pull-ext a",
		"--debug --debug-full --insecure-registry --experimental=false pull-ext a",
		"--data-root x --data-root=y --cni-path z --kube-hide-dupe --kube-hide-dupe=false --selinux-enabled pull-ext a",
		"--global-dns 1.1.1.1 --global-dns-search=x image --userns-remap u pull-ext a", "--unknown pull-ext a", "--unknown=* pull-ext * $HOME",
		"pull-ext --data-root x", "pull-ext --data-root", "pull-ext a --cni-path x -q --selinux-enabled --cgroup-manager=y two~words -- --data-root z",
		"pull-ext --kube-hide-dupe", "pull-ext -p --global-dns=1 a --global-dns 2 * _", "-- pull-ext a", "run --rm alpine pull-ext",
	}
	for _, line := range []string{"_", "p", "pull-ext", "pull-extra", "pull-ext _", "pull-ext --data-root", "pull-ext --data-root _", "pull-ext --data-root x _", "pull-ext --selinux-enabled", "pull-ext a --selinux-enabled --cni-path=y --po", "pull-ext -- --data-root x _", "image _", "image pull-ext _", "-n k8s.io pull-ext --pro", "-n _", "-n k8s.io _", "--data-root", "ps _", "-", "*", "[p]", "-n k8s.io image p"} {
		all = append(all, "__complete "+line, "__completeNoDesc "+line)
	}
	return all
}

// world is a folder with programs that print how they were called.
type world struct{ dir string }

func newWorld(t *testing.T) *world {
	w := &world{t.TempDir()}
	for _, name := range []string{"nerdctl", "containerd-pull"} {
		w.write(t, "bin/"+name, "#!/bin/sh\nprintf '%s' \"${0##*/}\"\nfor a in \"$@\"; do printf ' <%s>' \"$a\"; done\necho\n")
	}
	return w
}

func (w *world) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pulltest.WriteProgram(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// expected is the call that a line leads to.
func expected(line string) string {
	args := fields(line)
	call := plugin.Parse(args)
	text := "nerdctl"
	if call.IsPull {
		text, args = "containerd-pull", call.Args
	}
	for _, a := range args {
		text += " <" + a + ">"
	}
	return strings.Join(append(call.Candidates, text+"\n"), "\n")
}

// TestFunctionsDoWhatParseDoes runs all lines through the function of each
// shell, which is defined twice.
func TestFunctionsDoWhatParseDoes(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			pulltest.Need(t, pulltest.Program(shell))
			w := newWorld(t)
			init, err := plugin.Init(shell)
			if err != nil {
				t.Fatal(err)
			}
			init = w.write(t, "init", init)
			script := "source " + init + "\nsource " + init + "\n"
			var want strings.Builder
			for _, line := range lines() {
				script += "nerdctl"
				for _, a := range fields(line) {
					script += " '" + a + "'"
				}
				script += "\n"
				want.WriteString(expected(line))
			}
			cmd := exec.CommandContext(t.Context(), shell, w.write(t, "script", script))
			cmd.Env = []string{"PATH=" + filepath.Join(w.dir, "bin") + ":/usr/bin:/bin", "HOME=" + w.dir}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(string(out), "\n")); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFunctionsWarnOfAnAlias keeps the alias working.
func TestFunctionsWarnOfAnAlias(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			pulltest.Need(t, pulltest.Program(shell))
			w := newWorld(t)
			text, err := plugin.Init(shell)
			if err != nil {
				t.Fatal(err)
			}
			init := w.write(t, "init", text)
			script := "alias nerdctl='env nerdctl --debug'\nsource " + init + "\nnerdctl pull-ext a\n"
			if shell == "bash" {
				script = "shopt -s expand_aliases\n" + script
			}
			cmd := exec.CommandContext(t.Context(), shell, w.write(t, "script", script))
			cmd.Env = []string{"PATH=" + filepath.Join(w.dir, "bin") + ":/usr/bin:/bin", "HOME=" + w.dir}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if got, want := string(out), "nerdctl <--debug> <pull-ext> <a>\n"; err != nil || got != want {
				t.Errorf("got %q, %v; want the alias's call %q", got, err, want)
			}
			if !strings.Contains(stderr.String(), "warning: nerdctl is an alias") {
				t.Errorf("stderr: got %q, want a warning", stderr.String())
			}
		})
	}
}

// TestFunctionsFailAsTheirProgram: the functions pass on the exit code.
func TestFunctionsFailAsTheirProgram(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			pulltest.Need(t, pulltest.Program(shell))
			w := newWorld(t)
			w.write(t, "bin/containerd-pull", "#!/bin/sh\nexit 4\n")
			w.write(t, "bin/nerdctl", "#!/bin/sh\nexit 5\n")
			text, err := plugin.Init(shell)
			if err != nil {
				t.Fatal(err)
			}
			init := w.write(t, "init", text)
			for line, want := range map[string]int{"nerdctl pull-ext a": 4, "nerdctl ps": 5} {
				cmd := exec.CommandContext(t.Context(), shell, w.write(t, "script", "source "+init+"\n"+line+"\n"))
				cmd.Env = []string{"PATH=" + filepath.Join(w.dir, "bin") + ":/usr/bin:/bin", "HOME=" + w.dir}
				if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != want {
					t.Errorf("%s: got %v, want exit code %d", line, err, want)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range lines() {
		f.Add(strings.Join(fields(line), "\x00"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		before := slices.Clone(args)
		call := plugin.Parse(args)
		if !slices.Equal(before, args) {
			t.Errorf("arguments changed from %q to %q", before, args)
		}
		if call.IsPull && !slices.Contains(args, plugin.Word) {
			t.Errorf("%q is taken for pull-ext", args)
		}
		if len(call.Args) >= len(args) && len(args) > 0 {
			t.Errorf("%q became %q", args, call.Args)
		}
	})
}

func TestInitRefuses(t *testing.T) {
	if _, err := plugin.Init("tcsh"); err == nil || !strings.Contains(err.Error(), "bash, zsh, fish, powershell") {
		t.Errorf("got %v, want the names of the shells", err)
	}
	for _, shell := range plugin.Shells() {
		if text, err := plugin.Init(shell); err != nil || strings.Contains(text, "@") && shell != "powershell" && strings.Contains(text, "@PULL@") {
			t.Errorf("%s: got %v and %s", shell, err, fmt.Sprintf("%.80q", text))
		}
	}
}
