package daemon_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// stranger is an ordinary user of the machine.
const stranger = 1234

// upper prepares a snapshot through s and opens it, as an unpack would.
func upper(t *testing.T, s *store.Store) (context.Context, *store.Upper, string) {
	t.Helper()
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	key := "extract-" + rand.Text()
	mounts, err := s.Snapshotter.Prepare(ctx, key, "")
	if err != nil {
		t.Fatal(err)
	}
	u, why := s.Upper(ctx, key, mounts)
	t.Cleanup(func() {
		if u != nil {
			u.Close()
		}
	})
	return ctx, u, why
}

// victim is a folder of the machine with something in it.
func victim(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin/su"), []byte("mine"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestH3OnlyRootsDaemonIsTrusted: what a daemon names counts only if the kernel says
// that root listens, and if no other user could have put the socket there.
func TestH3OnlyRootsDaemonIsTrusted(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	folder := func(t *testing.T, uid int, mode fs.FileMode) string {
		dir, err := os.MkdirTemp("", "sock")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := errors.Join(os.Chmod(dir, mode), os.Chown(dir, uid, uid)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for _, tc := range []struct {
		name    string
		address func(t *testing.T) string
		why     string
	}{
		{"root", func(t *testing.T) string { return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{}) }, ""},
		{"root, in a sticky folder", func(t *testing.T) string {
			return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Dir: folder(t, 0, 0o777|fs.ModeSticky)})
		}, ""},
		{"root, by a link of root's", func(t *testing.T) string {
			link := filepath.Join(folder(t, 0, 0o755), "link")
			if err := os.Symlink(d.Address, link); err != nil {
				t.Fatal(err)
			}
			return link
		}, ""},
		{"another user", func(t *testing.T) string {
			return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{UID: stranger})
		}, "runs as user 1234"},
		{"another user, in a sticky folder", func(t *testing.T) string {
			return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{UID: stranger, Dir: folder(t, 0, 0o777|fs.ModeSticky)})
		}, "runs as user 1234"},
		{"root, in a folder for all", func(t *testing.T) string {
			return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Dir: folder(t, 0, 0o777)})
		}, "can be written by others"},
		{"root, in a group's folder", func(t *testing.T) string {
			dir := folder(t, 0, 0o775)
			if err := os.Chown(dir, 0, stranger); err != nil {
				t.Fatal(err)
			}
			return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Dir: dir})
		}, "can be written by others"},
		{"root, in another user's folder", func(t *testing.T) string {
			return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Dir: folder(t, stranger, 0o755)})
		}, "belongs to user 1234"},
		{"root, below another user's folder", func(t *testing.T) string {
			dir := filepath.Join(folder(t, stranger, 0o755), "own")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			return testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Dir: dir})
		}, "belongs to user 1234"},
		{"root, by a link of another user", func(t *testing.T) string {
			link := filepath.Join(folder(t, 0, 0o777|fs.ModeSticky), "link")
			if err := errors.Join(os.Symlink(d.Address, link), os.Lchown(link, stranger, stranger)); err != nil {
				t.Fatal(err)
			}
			return link
		}, "belongs to user 1234"},
		{"root, its socket given away", func(t *testing.T) string {
			address := testdaemon.Front(t, d.Address, testdaemon.FrontOptions{})
			if err := os.Chown(address, stranger, stranger); err != nil {
				t.Fatal(err)
			}
			return address
		}, "belongs to user 1234"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := teststore.Dial(t, store.Options{Address: tc.address(t), Namespace: "n" + digest.FromString(t.Name()).Encoded()[:12]})
			ctx, u, why := upper(t, s)
			if (u != nil) != (tc.why == "") || !strings.Contains(why, tc.why) {
				t.Errorf("got %+v because %q, want … %q", u, why, tc.why)
			}
			if _, err := s.Lowers(ctx, "absent"); !errdefs.IsNotFound(err) {
				t.Errorf("got %v of a snapshot that is not there", err)
			}
			if tc.why == "" {
				return
			}
			if free := s.FreeSpace(ctx); free.Content != nil || free.Snapshots != nil {
				t.Errorf("got %+v, want no folder known", free)
			}
			if v := s.Traits().Verifiers; v.Programs != nil || !strings.Contains(v.Unknown, tc.why) {
				t.Errorf("got verifiers %+v, want none run because … %q", v, tc.why)
			}
			w, err := s.Content.Writer(ctx, content.WithRef("layer"))
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if f := daemon.IngestOf(w); f != nil {
				t.Errorf("got %s open, want no file of the daemon", f.Name())
			}
			teststore.Commit(ctx, t, s, "layer", "")
			if dirs, err := s.Lowers(ctx, "layer"); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), tc.why) {
				t.Errorf("got %v and %v, want no folder because … %q", dirs, err, tc.why)
			}
		})
	}
}

// TestH2DaemonElsewhere: the daemon runs in another mount namespace, and its paths
// happen to be those of another containerd here, of which nothing is touched.
func TestH2DaemonElsewhere(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		for _, snapshotter := range []string{"overlayfs", "native"} {
			t.Run(version+"/"+snapshotter, func(t *testing.T) {
				t.Parallel()
				here := testdaemon.Start(t, testdaemon.Options{Version: version})
				own := teststore.Dial(t, store.Options{Address: here.Address, Snapshotter: snapshotter})
				ctx, u, why := upper(t, own)
				if u == nil {
					t.Fatalf("got %q of a daemon on this machine", why)
				}
				teststore.Ingest(ctx, t, own, "begun here")
				if err := here.Stop(); err != nil { // it changes its files itself
					t.Fatal(err)
				}
				before := tree.Stats(t, here.Root)

				there := testdaemon.Start(t, testdaemon.Options{Version: version})
				address := testdaemon.Front(t, there.Address, testdaemon.FrontOptions{Lies: testdaemon.Elsewhere(there.Root, here.Root)})
				s := teststore.Dial(t, store.Options{Address: address, Snapshotter: snapshotter})
				ctx, u, why = upper(t, s)
				if u != nil || !strings.Contains(why, "does not have the snapshot") {
					t.Errorf("got %+v because %q, want no proof", u, why)
				}
				teststore.Commit(ctx, t, s, "layer", "")
				if dirs, err := s.Lowers(ctx, "layer"); !errdefs.IsFailedPrecondition(err) {
					t.Errorf("got %v and %v, want no folder", dirs, err)
				}
				if free := s.FreeSpace(ctx); free.Content != nil {
					t.Errorf("got %+v, want no folder known", free)
				}
				teststore.Ingest(ctx, t, s, "begun here")
				tree.Untouched(t, here.Root, before)
			})
		}
	}
}

// TestH2IngestElsewhere: the snapshots are shared, but the content folder that the
// daemon names is another one, with an ingest of the same name.
func TestH2IngestElsewhere(t *testing.T) {
	here := testdaemon.Start(t, testdaemon.Options{})
	blob, desc := large()
	own, ctx := shared(t, here)
	w, err := own.Content.Writer(ctx, content.WithRef("layer"), content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(blob[:1<<20]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(here.Root, "io.containerd.content.v1.content")
	before := tree.Stats(t, folder)

	there := testdaemon.Start(t, testdaemon.Options{})
	lies := map[string]testdaemon.Lie{testdaemon.MethodPlugins: testdaemon.Tell(
		func(_ *introspectionapi.PluginsRequest, a *introspectionapi.PluginsResponse) error {
			for _, p := range a.Plugins {
				if p.Type == "io.containerd.content.v1" {
					p.Exports["root"] = folder
				}
			}
			return nil
		})}
	s := teststore.Dial(t, store.Options{Address: testdaemon.Front(t, there.Address, testdaemon.FrontOptions{Lies: lies})})
	ctx, u, why := upper(t, s)
	if u == nil {
		t.Fatalf("got %q, want the snapshots shared", why)
	}
	w, err = s.Content.Writer(ctx, content.WithRef("layer"), content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(blob); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(ctx, desc.Size, desc.Digest); err != nil {
		t.Fatal(err)
	}
	if got, err := content.ReadBlob(ctx, s.Content, desc); err != nil || !bytes.Equal(got, blob) {
		t.Errorf("got %d bytes and %v, want the blob sent", len(got), err)
	}
	tree.Untouched(t, folder, before)
}

// TestH3LyingSnapshotter: even a daemon of root's, whose records have the key and
// whose count goes up by one, has nothing opened outside of its own folder, whatever
// it names.
func TestH3LyingSnapshotter(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	dir := victim(t)
	before := tree.Stats(t, dir)
	snapshots := filepath.Join(d.Root, "io.containerd.snapshotter.v1.overlayfs", "snapshots")
	if err := errors.Join(os.MkdirAll(filepath.Join(snapshots, "deep"), 0o700), os.Symlink(dir, filepath.Join(snapshots, "link")),
		os.Symlink(dir, filepath.Join(snapshots, "deep/fs")), os.Symlink(filepath.Dir(dir), filepath.Join(snapshots, "above"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		dir, dir + "/bin", "/", snapshots + "/link", snapshots + "/link/bin", snapshots + "/deep/fs", snapshots + "/above/" + filepath.Base(dir),
		snapshots + "/../../../" + filepath.Base(dir), "/proc/self/root" + dir, strings.TrimPrefix(dir, "/"), "",
	} {
		for name, m := range map[string]*types.Mount{
			"bind":  {Type: "bind", Source: path, Options: []string{"rw", "rbind"}},
			"upper": {Type: "overlay", Source: "overlay", Options: []string{"upperdir=" + path, "lowerdir=" + path}},
			"lower": {Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + path}},
		} {
			t.Run(name+" "+path, func(t *testing.T) {
				address := testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Lies: testdaemon.Naming(m)})
				s := teststore.Dial(t, store.Options{Address: address, Namespace: "n" + digest.FromString(t.Name()).Encoded()[:12]})
				ctx, u, why := upper(t, s)
				if u != nil && u.Dir != nil {
					t.Errorf("got %s open because %q, want nothing", u.Dir.Name(), why)
				}
				teststore.Commit(ctx, t, s, "layer", "")
				if dirs, err := s.Lowers(ctx, "layer"); err == nil && dirs[0] != nil {
					t.Errorf("got %s open, want nothing", dirs[0].Name())
				}
			})
		}
	}
	tree.Untouched(t, dir, before)
}

// TestH3ReplacedAfterTheProof: what was opened stays, wherever paths lead by then.
func TestH3ReplacedAfterTheProof(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	dir := victim(t)
	before := tree.Stats(t, dir)
	s := teststore.Dial(t, store.Options{Address: d.Address})
	ctx, u, why := upper(t, s)
	if u == nil {
		t.Fatalf("got %q, want the snapshot open", why)
	}
	mounts, err := s.Snapshotter.Prepare(ctx, "extract-2", "")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(d.Root, "io.containerd.snapshotter.v1.overlayfs")
	id := filepath.Base(filepath.Dir(mounts[0].Source))
	if err := errors.Join(os.Rename(root, root+".moved"), os.Symlink(dir, root), os.Remove(root+".moved/snapshots/"+id+"/fs"),
		os.Symlink(dir, root+".moved/snapshots/"+id+"/fs")); err != nil {
		t.Fatal(err)
	}
	if again, why := s.Upper(ctx, "extract-2", mounts); again != nil || why == "" {
		t.Errorf("got %s open because %q, want a link refused", again.Dir.Name(), why)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/file", u.Dir.Fd()), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Empty(u.Dir); err != nil {
		t.Fatal(err)
	}
	tree.Untouched(t, dir, before)
	if err := errors.Join(os.Remove(root), os.Rename(root+".moved", root)); err != nil {
		t.Fatal(err)
	}
}

// TestRecordsThatProveNothing: the folder of the snapshotter must have records, in a
// file that is root's, and the key in them.
func TestRecordsThatProveNothing(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	for name, make := range map[string]func(db string) error{
		"none":          func(string) error { return nil },
		"empty":         func(db string) error { return os.WriteFile(db, nil, 0o600) },
		"of other keys": func(db string) error { return os.WriteFile(db, bytes.Repeat([]byte("extract-"), 1<<17), 0o600) },
		"a pipe":        func(db string) error { return syscall.Mkfifo(db, 0o600) },
		"a folder":      func(db string) error { return os.Mkdir(db, 0o700) },
		"a link": func(db string) error {
			return os.Symlink(filepath.Join(d.Root, "io.containerd.snapshotter.v1.overlayfs/metadata.db"), db)
		},
		"of another user":   func(db string) error { return errors.Join(os.WriteFile(db, nil, 0o600), os.Chown(db, stranger, 0)) },
		"in an open folder": func(db string) error { return os.Chmod(filepath.Dir(db), 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(victim(t), "io.containerd.snapshotter.v1.overlayfs")
			if err := errors.Join(os.Mkdir(dir, 0o700), make(filepath.Join(dir, "metadata.db"))); err != nil {
				t.Fatal(err)
			}
			for n := range 100 { // whatever number the snapshot gets
				if err := os.MkdirAll(filepath.Join(dir, "snapshots", fmt.Sprint(n), "fs"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			before := tree.Stats(t, dir)
			lies := testdaemon.Elsewhere(filepath.Join(d.Root, filepath.Base(dir)), dir)
			s := teststore.Dial(t, store.Options{Address: testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Lies: lies}),
				Namespace: "n" + digest.FromString(t.Name()).Encoded()[:12]})
			if _, u, why := upper(t, s); u != nil {
				t.Errorf("got %s open because %q, want nothing", u.Dir.Name(), why)
			}
			tree.Untouched(t, dir, before)
		})
	}
}

// TestHonestDaemons prove what they share: by another path to the socket, from a
// folder that is mounted elsewhere, and over a link to the disk that has the root.
func TestHonestDaemons(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		for _, snapshotter := range []string{"overlayfs", "native"} {
			t.Run(version+"/"+snapshotter, func(t *testing.T) {
				t.Parallel()
				disk := t.TempDir()
				link := filepath.Join(t.TempDir(), "containerd")
				if err := os.Symlink(disk, link); err != nil {
					t.Fatal(err)
				}
				d := testdaemon.Start(t, testdaemon.Options{Version: version, Root: link})
				s := teststore.Dial(t, store.Options{Address: testdaemon.Front(t, d.Address, testdaemon.FrontOptions{}), Snapshotter: snapshotter})
				if _, u, why := upper(t, s); u == nil || u.Dir == nil {
					t.Errorf("got %+v because %q, want the snapshot open", u, why)
				}
			})
		}
	}
}
