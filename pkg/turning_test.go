//go:build linux

package pkg_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
)

// TestH3DaemonThatTurns pulls into daemons that say the truth for a while, until after each
// step of the proof, and then name another folder of the machine. Nothing there becomes
// another thing, and an image that is said to be pulled is whole. The daemon is one that
// cannot apply anything itself, for it would believe its own lies.
func TestH3DaemonThatTurns(t *testing.T) {
	pulltest.Long(t)
	program := buildProgram(t)
	reg := testregistry.Start(t, testregistry.Options{})
	testregistry.Push(t, reg, "app:1", pulltest.SmallImage(pulltest.Gzip))
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin/su"), []byte("mine"), 0o755)); err != nil {
		t.Fatal(err)
	}
	before := tree.Stats(t, dir)
	d := testdaemon.Start(t, testdaemon.Options{Version: "1.6", Disabled: []string{"io.containerd.service.v1.diff-service"}})
	paths := []string{testdaemon.MethodPrepare, testdaemon.MethodView, testdaemon.MethodMounts}
	counts := []string{testdaemon.MethodUsage, testdaemon.MethodStat}
	for name, methods := range map[string][]string{
		"paths": paths, "counts": counts, "roots": {testdaemon.MethodPlugins}, "all": append(append(counts, paths...), testdaemon.MethodPlugins),
	} {
		for after := range int64(5) {
			t.Run(fmt.Sprintf("%s after %d", name, after), func(t *testing.T) {
				front := testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Lies: testdaemon.Turning(after, dir, methods...)})
				namespace := fmt.Sprint(name, after)
				run := func(address string, args ...string) (int, []byte) {
					cmd := exec.CommandContext(t.Context(), program, append(args, "--address", address, "--namespace", namespace)...)
					out, _ := cmd.CombinedOutput() // the code says it
					return cmd.ProcessState.ExitCode(), out
				}
				code, out := run(front, reg.Host()+"/app:1")
				if code == 1 || bytes.Contains(out, []byte("panic:")) {
					t.Errorf("got code %d: %s", code, out)
				}
				if code != 0 {
					return
				}
				if code, out := run(d.Address, "verify", "--deep"); code != 0 {
					t.Errorf("a pull that succeeded: got code %d of verify: %s", code, out)
				}
			})
		}
	}
	tree.Untouched(t, dir, before)
}
