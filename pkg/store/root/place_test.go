package root_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

const (
	contentDir = "io.containerd.content.v1.content"
	metaDB     = "io.containerd.metadata.v1.bolt/meta.db"
)

// snapshotterDir is the folder of a snapshotter in a root.
func snapshotterDir(snapshotter string) string { return "io.containerd.snapshotter.v1." + snapshotter }

// full makes a root with an image, its blob, two layers, and what a container wrote
// on top, and returns its folder.
func full(t *testing.T, snapshotter string) string {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	dir := filepath.Join(t.TempDir(), "root")
	s, err := root.Open(t.Context(), store.Options{Root: dir, Snapshotter: snapshotter})
	if err != nil {
		t.Fatal(err)
	}
	ctx := s.Context(t.Context())
	ctx, l, err := s.Lease(ctx, teststore.Ref)
	if err != nil {
		t.Fatal(err)
	}
	teststore.Blob(ctx, t, s, "manifest")
	if err := s.Register(ctx, teststore.Image(teststore.Ref, "manifest", nil)); err != nil {
		t.Fatal(err)
	}
	teststore.Commit(ctx, t, s, "one", "")
	teststore.Commit(ctx, t, s, "two", "one")
	prepare(ctx, t, s.Snapshotter, "container")
	if err := errors.Join(s.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	_ = l // it stays, so that nothing of this is garbage
	for _, folder := range folders(t, dir, snapshotter) {
		if err := os.WriteFile(filepath.Join(folder, "file"), []byte("a file"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// folders are those of the snapshots of a root.
func folders(t *testing.T, dir, snapshotter string) []string {
	t.Helper()
	pattern := filepath.Join(dir, snapshotterDir(snapshotter), "snapshots", "*")
	if snapshotter == store.Overlayfs {
		pattern = filepath.Join(pattern, "fs")
	}
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		t.Fatalf("got folders %v and %v", all, err)
	}
	return all
}

// read lists everything in a root, with bytes, modes and times.
func read(t *testing.T, dir string) []tree.Entry {
	t.Helper()
	entries, err := tree.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// looks are the ways to open a root that must not change it.
func looks() map[string]func(context.Context, store.Options) error {
	return map[string]func(context.Context, store.Options) error{
		"look": func(ctx context.Context, o store.Options) error {
			s, err := root.Opener{}.Look(ctx, o)
			if err != nil {
				return err
			}
			_, err = s.GC(ctx, true)
			_, lerr := s.Images.List(s.Context(ctx))
			return errors.Join(err, lerr, s.Close())
		},
		"view": func(ctx context.Context, o store.Options) error {
			v, err := root.View(o)
			if err != nil {
				return err
			}
			_, err = v.Images(ctx)
			return errors.Join(err, v.Close())
		},
	}
}

func openForWriting(ctx context.Context, o store.Options) error {
	s, err := root.Open(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(s.Collect(ctx, store.Garbage), s.Close())
}

// TestM1Links puts a link in the place of each folder and file of a root that leads
// to one of the same sort elsewhere. None is followed.
func TestM1Links(t *testing.T) {
	for _, snapshotter := range root.Snapshotters() {
		sn := snapshotterDir(snapshotter)
		for _, name := range []string{
			contentDir, contentDir + "/ingest", contentDir + "/blobs", contentDir + "/blobs/sha256",
			filepath.Dir(metaDB), metaDB, sn, sn + "/metadata.db", sn + "/snapshots",
		} {
			for _, kind := range []string{"to the same", "to a folder", "to nothing"} {
				t.Run(strings.Join([]string{snapshotter, name, kind}, " "), func(t *testing.T) {
					dir, elsewhere := full(t, snapshotter), t.TempDir()
					target := filepath.Join(elsewhere, "moved")
					if err := os.Rename(filepath.Join(dir, name), target); err != nil {
						t.Fatal(err)
					}
					switch kind {
					case "to a folder":
						target = "/etc"
					case "to nothing":
						target = "/nowhere"
					}
					if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
					before := [][]tree.Entry{read(t, dir), read(t, elsewhere)}
					o := store.Options{Root: dir, Snapshotter: snapshotter}
					err := openForWriting(t.Context(), o)
					if !errors.Is(err, store.ErrUnsafe) || !strings.Contains(err.Error(), filepath.Join(dir, name)+" is a link") || failure.HintOf(err) == "" {
						t.Errorf("got %v, want the link named, and a hint", err)
					}
					if _, err := (root.Opener{}).Look(t.Context(), o); !errors.Is(err, store.ErrUnsafe) {
						t.Errorf("looking: got %v, want %v", err, store.ErrUnsafe)
					}
					if diff := tree.Diff(read(t, elsewhere), before[1]); diff != "" {
						t.Errorf("elsewhere: %s", diff)
					}
				})
			}
		}
	}
}

// TestM1LinkedSnapshots does the same with the folders of single snapshots, and with
// what is in them.
func TestM1LinkedSnapshots(t *testing.T) {
	for _, snapshotter := range root.Snapshotters() {
		for _, number := range []string{"1", "1/fs"} {
			if number == "1/fs" && snapshotter == store.Native {
				continue
			}
			t.Run(snapshotter+" "+number, func(t *testing.T) {
				dir, elsewhere := full(t, snapshotter), t.TempDir()
				folder := filepath.Join(dir, snapshotterDir(snapshotter), "snapshots", number)
				if err := errors.Join(os.RemoveAll(folder), os.Symlink(elsewhere, folder)); err != nil {
					t.Fatal(err)
				}
				before := read(t, elsewhere)
				for name, open := range map[string]func(context.Context, store.Options) (*store.Store, error){"open": root.Open, "look": root.Opener{}.Look} {
					s, err := open(t.Context(), store.Options{Root: dir, Snapshotter: snapshotter})
					if err == nil {
						_, err = s.Lowers(s.Context(t.Context()), "one")
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					}
					if !errors.Is(err, store.ErrUnsafe) || !strings.Contains(err.Error(), folder+" is a link") {
						t.Errorf("%s: got %v, want the link named", name, err)
					}
				}
				if diff := tree.Diff(read(t, elsewhere), before); diff != "" {
					t.Errorf("elsewhere: %s", diff)
				}
			})
		}
	}
}

// TestM1LinkToTheRoot is the user's own.
func TestM1LinkToTheRoot(t *testing.T) {
	dir := full(t, store.Native)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := openForWriting(t.Context(), store.Options{Root: link, Snapshotter: store.Native}); err != nil {
		t.Errorf("got %v for a root that a link leads to", err)
	}
}

// TestL7Owners refuses folders and files that another user owns or can write.
func TestL7Owners(t *testing.T) {
	const other = 1234
	for _, name := range []string{".", contentDir, contentDir + "/ingest", contentDir + "/blobs/sha256", filepath.Dir(metaDB), metaDB, snapshotterDir("native"), snapshotterDir("native") + "/metadata.db", snapshotterDir("native") + "/snapshots"} {
		for kind, spoil := range map[string]func(string) error{
			"owned by another": func(path string) error { return os.Chown(path, other, 0) },
			"of another group": func(path string) error { return errors.Join(os.Chown(path, 0, other), os.Chmod(path, 0o775)) },
			"for all":          func(path string) error { return os.Chmod(path, 0o777) },
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				dir := full(t, store.Native)
				path := filepath.Join(dir, name)
				if err := spoil(path); err != nil {
					t.Fatal(err)
				}
				before := read(t, dir)
				o := store.Options{Root: dir, Snapshotter: store.Native}
				_, lerr := root.Opener{}.Look(t.Context(), o)
				for _, err := range []error{openForWriting(t.Context(), o), lerr} {
					if !errors.Is(err, store.ErrUnsafe) || !strings.Contains(err.Error(), path) || failure.HintOf(err) == "" {
						t.Errorf("got %v, want %s named, and a hint", err, path)
					}
				}
				if name == "." {
					if diff := tree.Diff(read(t, dir), before); diff != "" {
						t.Error(diff)
					}
				}
			})
		}
	}
}

// TestL7Modes are containerd's, whatever the umask and whatever they were before;
// looking leaves them.
func TestL7Modes(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	want := map[string]os.FileMode{
		".": 0o700, contentDir: 0o755, contentDir + "/ingest": 0o755, contentDir + "/blobs": 0o755, contentDir + "/blobs/sha256": 0o755,
		filepath.Dir(metaDB): 0o711, metaDB: 0o644,
		snapshotterDir("overlayfs"): 0o700, snapshotterDir("overlayfs") + "/snapshots": 0o700, snapshotterDir("overlayfs") + "/metadata.db": 0o600,
	}
	dir := full(t, store.Overlayfs)
	o := store.Options{Root: dir}
	wantModes := func() {
		t.Helper()
		for name, mode := range want {
			info, err := os.Lstat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != mode {
				t.Errorf("%s: got mode %v, want %v", name, info.Mode(), mode)
			}
		}
	}
	wantModes()
	for _, name := range []string{".", snapshotterDir("overlayfs"), snapshotterDir("overlayfs") + "/snapshots"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	before := read(t, dir)
	for name, look := range looks() {
		if err := look(t.Context(), o); err != nil {
			t.Error(err)
		}
		if diff := tree.Diff(read(t, dir), before); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if err := openForWriting(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantModes()
}

// TestStickyFolder is what a new tmpfs is: it becomes the root's own.
func TestStickyFolder(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	o := store.Options{Root: dir, Snapshotter: store.Native}
	if err := openForWriting(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("got %v and %v, want the folder closed to others", info.Mode(), err)
	}
	if err := errors.Join(os.Chmod(dir, 0o777|os.ModeSticky), os.Chown(filepath.Join(dir, contentDir), 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	if err := openForWriting(t.Context(), o); !errors.Is(err, store.ErrUnsafe) {
		t.Errorf("got %v for what another user put there, want %v", err, store.ErrUnsafe)
	}
}

// TestForeignFolders are written into only by force.
func TestForeignFolders(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for name, tt := range map[string]struct {
		has  []string
		want error
	}{
		"empty":                    {},
		"a file system of its own": {has: []string{"lost+found/"}},
		"left by a killed pull":    {has: []string{".containerd-pull.lock"}},
		"containerd's":             {has: []string{contentDir + "/", "something else"}},
		"of another snapshotter":   {has: []string{snapshotterDir("zfs") + "/"}},
		"a home":                   {has: []string{".bashrc", "Documents/"}, want: store.ErrForeign},
		"a system":                 {has: []string{"bin/", "etc/", "usr/", "var/"}, want: store.ErrForeign},
		"hidden":                   {has: []string{".hidden"}, want: store.ErrForeign},
		"nearly":                   {has: []string{"io.containerd.runtime.v2.task/"}, want: store.ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, entry := range tt.has {
				path := filepath.Join(dir, entry)
				var err error
				if strings.HasSuffix(entry, "/") {
					err = os.Mkdir(path, 0o755)
				} else {
					err = os.WriteFile(path, nil, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			before := read(t, dir)
			o := store.Options{Root: dir, Snapshotter: store.Native}
			err := openForWriting(t.Context(), o)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if tt.want == nil {
				return
			}
			if !strings.Contains(err.Error(), tt.has[0]) && !strings.Contains(err.Error(), strings.TrimSuffix(tt.has[0], "/")) {
				t.Errorf("got %v, want it to say what there is", err)
			}
			if diff := tree.Diff(read(t, dir), before); diff != "" {
				t.Error(diff)
			}
			o.Force = true
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := openForWriting(t.Context(), o); err != nil {
				t.Errorf("by force: got %v", err)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("got mode %v and %v, want that of before, for what else is there", info.Mode(), err)
			}
		})
	}
}

// TestL6LockOfAnotherRoot: a root that was moved away gives up its own lock, and not
// that of the one in its place.
func TestL6LockOfAnotherRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	first, err := root.Open(t.Context(), store.Options{Root: dir, Snapshotter: store.Native})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	second, err := root.Open(t.Context(), store.Options{Root: dir, Snapshotter: store.Native})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = first.Close() // its databases have lost their paths
	const lock = "/.containerd-pull.lock"
	if _, err := os.Stat(dir + lock); err != nil {
		t.Errorf("got %v, want the lock of the second root", err)
	}
	if _, err := os.Stat(dir + ".old" + lock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want no lock of the first root any more", err)
	}
}

// TestL6OtherUsersHoldNothing: a lock on the folder is nothing to a pull.
func TestL6OtherUsersHoldNothing(t *testing.T) {
	dir := full(t, store.Native)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := openForWriting(t.Context(), store.Options{Root: dir, Snapshotter: store.Native}); err != nil {
		t.Errorf("got %v while another holds the folder", err)
	}
}

// TestL6SaysWhoIsWaitedFor once, and gives up in time.
func TestL6SaysWhoIsWaitedFor(t *testing.T) {
	dir := full(t, store.Native)
	o := store.Options{Root: dir, Snapshotter: store.Native}
	first, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, ".containerd-pull.lock")
	if info, err := os.Stat(lock); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v and %v, want a lock that others cannot open", info, err)
	}
	var said []string
	patient := root.Opener{Patience: 200 * time.Millisecond, Waiting: func(text string) { said = append(said, text) }}
	name := "root.test (process "
	for what, open := range map[string]func(context.Context, store.Options) (*store.Store, error){"open": patient.Open, "look": patient.Look} {
		said = nil
		_, err := open(t.Context(), o)
		if !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), name) || failure.HintOf(err) == "" {
			t.Errorf("%s: got %v, want to know who holds the root", what, err)
		}
		if len(said) != 1 || !strings.Contains(said[0], name) || !strings.Contains(said[0], dir) {
			t.Errorf("%s: got %q said, want once who is waited for", what, said)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(lock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the lock gone", err)
	}
	if err := openForWriting(t.Context(), o); err != nil {
		t.Errorf("got %v after the root was given up", err)
	}
}

// TestLookersDoNotWaitForEachOther, and a pull waits for them.
func TestLookersDoNotWaitForEachOther(t *testing.T) {
	dir := full(t, store.Native)
	o := store.Options{Root: dir, Snapshotter: store.Native}
	brief := root.Opener{Patience: 100 * time.Millisecond}
	first, err := brief.Look(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	second, err := brief.Look(t.Context(), o)
	if err != nil {
		t.Fatalf("got %v while another looks", err)
	}
	if _, err := brief.Open(t.Context(), o); !errors.Is(err, store.ErrBusy) {
		t.Errorf("got %v from a pull while others look, want %v", err, store.ErrBusy)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Error(err)
	}
}

// TestLookWritesNothing: what would be written fails, or is forgotten.
func TestLookWritesNothing(t *testing.T) {
	for _, snapshotter := range root.Snapshotters() {
		dir := full(t, snapshotter)
		before := read(t, dir)
		o := store.Options{Root: dir, Snapshotter: snapshotter}
		s, err := root.Opener{}.Look(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		ctx := s.Context(t.Context())
		ctx, l, err := s.Lease(ctx, "a look")
		if err != nil {
			t.Errorf("leasing in memory: got %v", err)
		}
		if _, err := s.Lowers(ctx, "two"); err != nil {
			t.Errorf("the folders of a snapshot: got %v", err)
		}
		prepare(ctx, t, s.Snapshotter, store.ActivePrefix+"compared")
		if err := s.Snapshotter.Commit(ctx, "three", store.ActivePrefix+"compared"); !errors.Is(err, unix.EROFS) && err == nil {
			t.Errorf("committing: got %v, want it refused", err)
		}
		if err := s.Snapshotter.Remove(ctx, store.ActivePrefix+"compared"); err != nil {
			t.Error(err)
		}
		if _, err := s.Content.Writer(ctx); err == nil {
			t.Error("got a writer for blobs")
		}
		_, gcErr := s.GC(ctx, false)
		for what, err := range map[string]error{"flushing": s.Flush(), "collecting": s.Collect(ctx, store.GarbageNow), "gc": gcErr} {
			if !errors.Is(err, unix.EROFS) {
				t.Errorf("%s: got %v, want %v", what, err, unix.EROFS)
			}
		}
		if err := errors.Join(l.Delete(ctx), s.Close()); err != nil {
			t.Error(err)
		}
		if diff := tree.Diff(read(t, dir), before); diff != "" {
			t.Errorf("%s: %s", snapshotter, diff)
		}
	}
	if _, err := (root.Opener{}).Look(t.Context(), store.Options{Root: "/nowhere"}); !errdefs.IsNotFound(err) {
		t.Errorf("got %v where there is no root", err)
	}
}
