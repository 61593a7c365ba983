// Package tree reads unpacked trees, of a folder or of the mounts of a
// snapshot, and shows how two of them differ.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Entry is everything of one file that an unpack decides. Two equal trees give
// two equal lists.
type Entry struct {
	Path     string // from the root of the tree, "/" first
	Mode     uint32 // type and permissions, as in stat(2)
	UID, GID uint32
	ModTime  int64         // nanoseconds since 1970
	Size     int64         // of what is not a directory
	Links    uint64        // hard links of what is not a directory
	LinkedTo string        // the first path of the same inode, if it is another
	Target   string        // of a symbolic link
	Device   uint64        // of a device
	Content  digest.Digest // of a regular file
	Xattrs   map[string]string
}

// Read lists the tree below root, root included, sorted by path. Size and
// link count of directories are left out: they tell how a file system counts.
func Read(root string) ([]Entry, error) {
	r := treeReader{root: root, first: map[inode]string{}}
	if err := filepath.WalkDir(root, r.visit); err != nil {
		return nil, fmt.Errorf("reading tree: %w", err)
	}
	return r.entries, nil
}

type inode struct{ dev, ino uint64 }

type treeReader struct {
	root    string
	first   map[inode]string // path by which an inode was met first
	entries []Entry
}

func (r *treeReader) visit(path string, _ fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	e := Entry{
		Path: "/" + strings.TrimPrefix(strings.TrimPrefix(path, r.root), "/"),
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, ModTime: st.Mtim.Nano(),
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		r.link(&e, &st)
	}
	if err := e.readContent(path, &st); err != nil {
		return err
	}
	if e.Xattrs, err = readXattrs(path); err != nil {
		return err
	}
	r.entries = append(r.entries, e)
	return nil
}

func (r *treeReader) link(e *Entry, st *unix.Stat_t) {
	e.Size, e.Links = st.Size, uint64(st.Nlink)
	key := inode{uint64(st.Dev), st.Ino}
	if first, met := r.first[key]; met {
		e.LinkedTo = first
		return
	}
	r.first[key] = e.Path
}

func (e *Entry) readContent(path string, st *unix.Stat_t) error {
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		e.Target, err = os.Readlink(path)
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Device = uint64(st.Rdev)
	case unix.S_IFREG:
		e.Content, err = fileDigest(path)
	}
	return err
}

func fileDigest(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.FromReader(f)
}

// readXattrs reads all that the caller may see, of the file itself and not of
// what a link points to.
func readXattrs(path string) (map[string]string, error) {
	names, err := readSized(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if errors.Is(err, syscall.ENOTSUP) || len(names) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	xattrs := map[string]string{}
	for _, name := range strings.Split(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		value, err := readSized(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
		if err != nil {
			return nil, &fs.PathError{Op: "lgetxattr " + name, Path: path, Err: err}
		}
		xattrs[name] = string(value)
	}
	return xattrs, nil
}

// readSized asks for the size with an empty buffer and then for the value.
func readSized(read func([]byte) (int, error)) ([]byte, error) {
	n, err := read(nil)
	if err != nil || n == 0 {
		return nil, err
	}
	buf := make([]byte, n)
	n, err = read(buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// maxDiffs bounds what Diff prints: a wrong unpack differs in all
// files, and the first few say why.
const maxDiffs = 20

// Diff says how got differs from want, by path and field; empty if they
// are equal.
func Diff(got, want []Entry) string {
	gotBy, wantBy := byPath(got), byPath(want)
	var lines []string
	for _, w := range want {
		g, ok := gotBy[w.Path]
		switch {
		case !ok:
			lines = append(lines, fmt.Sprintf("%s is missing", w.Path))
		case !cmp.Equal(g, w):
			lines = append(lines, fmt.Sprintf("%s differs (-want +got):\n%s", w.Path, cmp.Diff(w, g)))
		}
	}
	for _, g := range got {
		if _, ok := wantBy[g.Path]; !ok {
			lines = append(lines, fmt.Sprintf("%s is there and should not be", g.Path))
		}
	}
	if n := len(lines); n > maxDiffs {
		lines = append(lines[:maxDiffs], fmt.Sprintf("and %d more of %d differences", n-maxDiffs, n))
	}
	return strings.Join(lines, "\n")
}

func byPath(entries []Entry) map[string]Entry {
	m := make(map[string]Entry, len(entries))
	for _, e := range entries {
		m[e.Path] = e
	}
	return m
}

// ReadMounted reads the tree that the mounts of a snapshot show. They are
// mounted read-only for as long as that takes, which only root can.
func ReadMounted(ctx context.Context, mounts []mount.Mount) ([]Entry, error) {
	if len(mounts) > 1 {
		return readImages(ctx, mounts, nil)
	}
	var entries []Entry
	err := mount.WithReadonlyTempMount(ctx, slices.Clone(mounts), func(root string) (err error) {
		entries, err = Read(root)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading snapshot: %w", err)
	}
	return entries, nil
}

// readImages reads the view of a snapshot of snapshotter erofs: images, and an overlay
// that has what each of them shows as a lower directory. dirs are those that are mounted.
func readImages(ctx context.Context, mounts []mount.Mount, dirs []string) (entries []Entry, err error) {
	if len(mounts) > 1 {
		return entries, mount.WithTempMount(ctx, mounts[:1], func(root string) error {
			entries, err = readImages(ctx, mounts[1:], append(slices.Clone(dirs), root))
			return err
		})
	}
	overlay := mount.Mount{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + strings.Join(dirs, ":")}}
	for _, o := range mounts[0].Options {
		if !strings.HasPrefix(o, "lowerdir=") {
			overlay.Options = append(overlay.Options, o)
		}
	}
	return ReadMounted(ctx, []mount.Mount{overlay})
}

// Find is the entry of that path; without one the test ends.
func Find(t testing.TB, entries []Entry, path string) Entry {
	t.Helper()
	for _, e := range entries {
		if e.Path == path {
			return e
		}
	}
	t.Fatalf("got no entry %s in %v", path, entries)
	return Entry{}
}

// Stats is what stat(2) says of everything below dir, by path: whatever writes there
// changes it, even if it undoes what it did.
func Stats(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Lstat(path, &st)
		all[path] = fmt.Sprint(st.Ino, st.Mode, st.Uid, st.Size, st.Mtim, st.Ctim)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Untouched wants nothing below dir to have been written since before.
func Untouched(t testing.TB, dir string, before map[string]string) {
	t.Helper()
	if diff := cmp.Diff(before, Stats(t, dir)); diff != "" {
		t.Errorf("%s was touched (-before +after):\n%s", dir, diff)
	}
}
