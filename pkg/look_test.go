//go:build linux

package pkg_test

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// looks are the commands that look at a daemon, or at nothing of it.
func looks(ref string) []string {
	return []string{
		"gc --dry-run", "verify", "verify --format json", "plan " + ref, "plan --policy always " + ref, "--dry-run " + ref,
		"--policy never " + ref, "images", "images --format json", "watch --once --interval 100ms",
		"__complete verify ", "__complete rm ", "__complete ",
		"config show", "completion bash", "profile list", "profile check --migrate", "hosts check " + ref, "version",
		deepLook + ref,
	}
}

// deepLook unpacks in the daemon, whose snapshotter alone can show its snapshots. What
// it makes there is under a lease of its own, and gone at the end.
const deepLook = "verify --deep "

// readingMethods are those of a daemon that change nothing.
var readingMethods = map[string][]string{
	"version.v1.Version":             {"Version"},
	"introspection.v1.Introspection": {"Plugins", "Server"},
	"namespaces.v1.Namespaces":       {"Get", "List"},
	"images.v1.Images":               {"Get", "List"},
	"content.v1.Content":             {"Info", "List", "ListStatuses", "Status", "Read"},
	"snapshots.v1.Snapshots":         {"Stat", "List", "Usage", "Mounts"},
	"leases.v1.Leases":               {"List", "ListResources"},
	"containers.v1.Containers":       {"List"},
}

// TestM7LookingChangesNothingOfADaemon runs every command that only looks over daemons of
// each version. No record may become another one, and no method may be called that could
// make it so, save by the deep look.
func TestM7LookingChangesNothingOfADaemon(t *testing.T) {
	pulltest.Long(t)
	program := buildProgram(t)
	reg := testregistry.Start(t, testregistry.Options{})
	testregistry.Push(t, reg, "app:1", pulltest.MultiPlatform(pulltest.Gzip))
	ref := reg.Host() + "/app:1"
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			home := t.TempDir()
			run := func(address, line string) (int, string) {
				cmd := exec.CommandContext(t.Context(), program, strings.Split(line, " ")...)
				cmd.Env = append(os.Environ(), "CONTAINERD_ADDRESS="+address, "HOME="+home, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "DOCKER_CONFIG=")
				out, _ := cmd.CombinedOutput() // the code says it
				return cmd.ProcessState.ExitCode(), string(out)
			}
			if code, out := run(d.Address, ref); code != 0 {
				t.Fatalf("got code %d, want the image: %s", code, out)
			}
			leaveWork(t, d)
			var called sync.Map
			front := testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Before: func(method string) { called.Store(method, true) }})
			collect(t, d) // what the pull has left to collect
			before := d.Records(t)
			for _, line := range looks(ref) {
				called.Clear()
				if code, out := run(front, line); code == 1 || code == 2 {
					t.Errorf("%q: got code %d: %s", line, code, out)
				}
				called.Range(func(method, _ any) bool {
					service := strings.TrimPrefix(path.Dir(method.(string)), "/containerd.services.")
					if !slices.Contains(readingMethods[service], path.Base(method.(string))) && !strings.HasPrefix(line, deepLook) {
						t.Errorf("%q: got a call of %s", line, method)
					}
					return true
				})
				if strings.HasPrefix(line, deepLook) {
					collect(t, d)
				}
				if after := d.Records(t); !maps.Equal(after, before) {
					t.Errorf("%q changed records (-before +after):\n%s", line, cmp.Diff(before, after))
					before = after
				}
			}
		})
	}
}

// buildProgram returns the path of the program as users have it.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "containerd-pull")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/containerd-pull").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v: %s", err, out)
	}
	return program
}

// leaveWork has the daemon hold what a pull that was interrupted leaves: a lease, an
// ingest and a snapshot that is prepared.
func leaveWork(t *testing.T, d *testdaemon.Daemon) {
	t.Helper()
	st := teststore.Dial(t, store.Options{Address: d.Address})
	ctx, lease, _ := teststore.Lease(t, st, teststore.Ref)
	teststore.Ingest(ctx, t, st, "left")
	teststore.Prepare(ctx, t, st, "extract-left", "")
	if _, err := lease.Suspend(st.Context(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// collect has the daemon collect what is no longer referred to.
func collect(t *testing.T, d *testdaemon.Daemon) {
	t.Helper()
	st := teststore.Dial(t, store.Options{Address: d.Address})
	ctx := st.Context(t.Context())
	lease, err := st.Leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Leases.Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
}
