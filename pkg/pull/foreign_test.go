package pull_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// snapshotOf is another containerd's folder of snapshots, whatever number a daemon
// gives its next one.
func snapshotOf(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for n := range 20 {
		dir := filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots", fmt.Sprint(n), "fs/bin")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "su"), []byte("precious"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// unaided is what a daemon does without that leaves the unpacking to its clients.
var unaided = []string{"io.containerd.service.v1.diff-service", "io.containerd.grpc.v1.diff", "io.containerd.grpc.v1.transfer", "io.containerd.image-verifier.v1.bindir"}

// unverified is what a daemon of 2.0 does without that asks programs, which a client
// that cannot see the daemon's process leaves to it.
var unverified = []string{"io.containerd.image-verifier.v1.bindir"}

// withDaemon is a site with a daemon of its own, without the disabled plugins.
func withDaemon(t *testing.T, version string, disabled []string) *site {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	s := bareSite(t, place{name: version, snapshotter: "overlayfs", version: version})
	t.Cleanup(s.close)
	s.serve(testdaemon.Options{Version: version, Disabled: disabled})
	return s
}

// saysFull is what a daemon says whose disk is full.
var saysFull = testdaemon.Failing(status.Error(codes.Unknown, "write metadata.db: no space left on device"))

// TestH2NothingIsEmptied: a daemon that runs elsewhere says that its disk is full when
// the client removes the snapshot of a pull that has failed. The path of that snapshot
// is another containerd's here.
func TestH2NothingIsEmptied(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := withDaemon(t, version, unaided)
			other := snapshotOf(t)
			lies := testdaemon.Elsewhere(s.root, other)
			lies[testdaemon.MethodRemove] = saysFull
			s.front = &testdaemon.FrontOptions{Lies: lies}
			before := tree.Stats(t, other)
			ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/h2:1", small(t, "h2", pulltest.Gzip, pulltest.Spec{}))
			if result, err := s.pull(ref); err == nil {
				t.Errorf("got %+v, want no engine to unpack with", result)
			}
			tree.Untouched(t, other, before)
		})
	}
}

// TestH3NothingIsWritten: whatever folder the daemon of an ordinary user names, root's
// client writes nothing there, not even to find out whether it is shared.
func TestH3NothingIsWritten(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		for name, mount := range map[string]func(dir string) *types.Mount{
			"bind": func(dir string) *types.Mount {
				return &types.Mount{Type: "bind", Source: dir, Options: []string{"rw", "rbind"}}
			},
			"overlay": func(dir string) *types.Mount {
				return &types.Mount{Type: "overlay", Source: "overlay", Options: []string{"upperdir=" + dir, "lowerdir=" + dir}}
			},
		} {
			for _, uid := range []int{1234, 0} { // and a daemon of root's that lies
				t.Run(fmt.Sprint(version, "/", name, "/", uid), func(t *testing.T) {
					t.Parallel()
					s := withDaemon(t, version, unaided)
					victim := snapshotOf(t)
					lies := testdaemon.Naming(mount(victim))
					maps.Copy(lies, map[string]testdaemon.Lie{testdaemon.MethodRemove: saysFull})
					s.front = &testdaemon.FrontOptions{UID: uid, Lies: lies}
					before := tree.Stats(t, victim)
					ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/h3:1", small(t, "h3", pulltest.Gzip, pulltest.Spec{}))
					for _, engine := range []pull.Engine{pull.EngineAuto, pull.EngineClient, pull.EngineDaemon} {
						if result, err := s.pull(ref, withEngine(engine)); err == nil {
							t.Errorf("got %+v with engine %s, want nothing unpacked", result, engine)
						}
					}
					tree.Untouched(t, victim, before)
				})
			}
		}
	}
}

// TestH3TheDaemonApplies: the image of another user's daemon is unpacked by that
// daemon, and the result says why.
func TestH3TheDaemonApplies(t *testing.T) {
	s := withDaemon(t, "2.4", unverified)
	s.front = &testdaemon.FrontOptions{UID: 1234, Lies: map[string]testdaemon.Lie{}}
	img := small(t, "applies", pulltest.Gzip, pulltest.Spec{})
	ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/applies:1", img)
	result := s.mustPull(ref)
	if result.Engine != pull.EngineDaemon || !strings.Contains(result.EngineReason, "runs as user 1234") {
		t.Errorf("got engine %s because %q, want the daemon, because of its user", result.Engine, result.EngineReason)
	}
	s.checkSnapshots(t, img)
}

// TestH2ClientElsewhere: where the client is, the daemon's root is a copy of it that
// another containerd has gone on with. The daemon unpacks, and the copy stays.
func TestH2ClientElsewhere(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := withDaemon(t, version, unverified)
			reg := testregistry.Start(t, testregistry.Options{})
			s.mustPull(testregistry.Push(t, reg, "team/first:1", small(t, "first", pulltest.Gzip, pulltest.Spec{})))
			other := filepath.Join(t.TempDir(), "root")
			if out, err := exec.Command("cp", "-a", s.root, other).CombinedOutput(); err != nil {
				t.Fatalf("copying the root: %v: %s", err, out)
			}
			for n := range 20 { // the next numbers are taken
				dir := filepath.Join(other, "io.containerd.snapshotter.v1.overlayfs/snapshots", fmt.Sprint(n), "fs")
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			before := tree.Stats(t, other)
			ref := testregistry.Push(t, reg, "team/second:1", small(t, "second", pulltest.Gzip, pulltest.Spec{}))
			out, err := s.child(ref, "unshare", "--mount", "sh", "-c", `mount --bind "$0" "$1" && shift && exec "$@"`, other, s.root).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "daemon: cannot prove that the file system is shared") {
				t.Errorf("got %s and %v, want the daemon to unpack, with the reason", out, err)
			}
			tree.Untouched(t, other, before)
			s.usable(t, ref)
		})
	}
}

// TestHonestClientInAContainer: a client with mounts and processes of its own, to
// which the daemon's socket and root were given, unpacks as on the machine.
func TestHonestClientInAContainer(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := withDaemon(t, version, unverified)
			img := small(t, "container", pulltest.Gzip, pulltest.Spec{})
			ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/container:1", img)
			out, err := s.child(ref, "unshare", "--mount", "--pid", "--fork", "--mount-proc").CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "client: shares the daemon's file system") {
				t.Errorf("got %s and %v, want the client to unpack", out, err)
			}
			s.checkSnapshots(t, img)
		})
	}
}
