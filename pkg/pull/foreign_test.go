package pull_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/types"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
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

// traces are the files below dir with what a write or a deletion would change.
func traces(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		all[path] = fmt.Sprint(st.Ino, info.Mode(), st.Uid, st.Size, st.Mtim, st.Ctim)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// unaided is what a daemon does without that leaves the unpacking to its clients.
var unaided = []string{"io.containerd.service.v1.diff-service", "io.containerd.grpc.v1.diff", "io.containerd.grpc.v1.transfer", "io.containerd.image-verifier.v1.bindir"}

// saysFull is what a daemon says whose disk is full.
var saysFull = testdaemon.Failing(status.Error(codes.Unknown, "write metadata.db: no space left on device"))

// TestH2NothingIsEmptied: a daemon that runs elsewhere says that its disk is full when
// the client removes the snapshot of a pull that has failed. The path of that snapshot
// is another containerd's here.
func TestH2NothingIsEmptied(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pulltest.Need(t, pulltest.Root)
			s := bareSite(t, place{name: version, snapshotter: "overlayfs", version: version})
			t.Cleanup(s.close)
			s.serve(testdaemon.Options{Version: version, Disabled: unaided})
			other := snapshotOf(t)
			lies := testdaemon.Elsewhere(s.root, other)
			lies[testdaemon.MethodRemove] = saysFull
			s.front = &testdaemon.FrontOptions{Lies: lies}
			before := traces(t, other)
			ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/h2:1", small(t, "h2", pulltest.Gzip, pulltest.Spec{}))
			if result, err := s.pull(ref); err == nil {
				t.Errorf("got %+v, want no engine to unpack with", result)
			}
			if diff := cmp.Diff(before, traces(t, other)); diff != "" {
				t.Errorf("another containerd's files (-before +after):\n%s", diff)
			}
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
					pulltest.Need(t, pulltest.Root)
					s := bareSite(t, place{name: version, snapshotter: "overlayfs", version: version})
					t.Cleanup(s.close)
					s.serve(testdaemon.Options{Version: version, Disabled: unaided})
					victim := snapshotOf(t)
					lies := testdaemon.Naming(mount(victim))
					maps.Copy(lies, map[string]testdaemon.Lie{testdaemon.MethodRemove: saysFull})
					s.front = &testdaemon.FrontOptions{UID: uid, Lies: lies}
					before := traces(t, victim)
					ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/h3:1", small(t, "h3", pulltest.Gzip, pulltest.Spec{}))
					for _, engine := range []pull.Engine{pull.EngineAuto, pull.EngineClient, pull.EngineDaemon} {
						if result, err := s.pull(ref, withEngine(engine)); err == nil {
							t.Errorf("got %+v with engine %s, want nothing unpacked", result, engine)
						}
					}
					if diff := cmp.Diff(before, traces(t, victim)); diff != "" {
						t.Errorf("the folder that was named (-before +after):\n%s", diff)
					}
				})
			}
		}
	}
}

// TestH3TheDaemonApplies: the image of another user's daemon is unpacked by that
// daemon, and the result says why.
func TestH3TheDaemonApplies(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	s := bareSite(t, place{name: "daemon", snapshotter: "overlayfs", version: "2.4"})
	t.Cleanup(s.close)
	s.serve(testdaemon.Options{Disabled: []string{"io.containerd.image-verifier.v1.bindir"}})
	s.front = &testdaemon.FrontOptions{UID: 1234, Lies: map[string]testdaemon.Lie{}}
	img := small(t, "applies", pulltest.Gzip, pulltest.Spec{})
	ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/applies:1", img)
	result := s.mustPull(ref)
	if result.Engine != pull.EngineDaemon || !strings.Contains(result.EngineReason, "runs as user 1234") {
		t.Errorf("got engine %s because %q, want the daemon, because of its user", result.Engine, result.EngineReason)
	}
	s.checkSnapshots(t, img)
}

// without are the plugins that make a daemon of 2.0 ask programs, which a client that
// cannot see the daemon's process leaves to it.
var without = testdaemon.Options{Disabled: []string{"io.containerd.image-verifier.v1.bindir"}}

// TestH2ClientElsewhere: where the client is, the daemon's root is a copy of it that
// another containerd has gone on with. The daemon unpacks, and the copy stays.
func TestH2ClientElsewhere(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pulltest.Need(t, pulltest.Root)
			s := bareSite(t, place{name: version, snapshotter: "overlayfs", version: version})
			t.Cleanup(s.close)
			o := without
			o.Version = version
			s.serve(o)
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
			before := traces(t, other)
			ref := testregistry.Push(t, reg, "team/second:1", small(t, "second", pulltest.Gzip, pulltest.Spec{}))
			out, err := s.child(ref, "unshare", "--mount", "sh", "-c", `mount --bind "$0" "$1" && shift && exec "$@"`, other, s.root).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "daemon: cannot prove that the file system is shared") {
				t.Errorf("got %s and %v, want the daemon to unpack, with the reason", out, err)
			}
			if diff := cmp.Diff(before, traces(t, other)); diff != "" {
				t.Errorf("the other containerd's files (-before +after):\n%s", diff)
			}
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
			pulltest.Need(t, pulltest.Root)
			s := bareSite(t, place{name: version, snapshotter: "overlayfs", version: version})
			t.Cleanup(s.close)
			o := without
			o.Version = version
			s.serve(o)
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
