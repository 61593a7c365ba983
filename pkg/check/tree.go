package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// difference is one file that is not as it should be.
type difference struct {
	path string // from the root of the layer, with a slash
	text string
}

// maxDifferences of one snapshot are listed; a snapshot that lost its files
// has as many as it had files.
const maxDifferences = 20

// trees compares the folder of a snapshot with one that the layer was just
// applied to: names, types, modes, owners, hard links, extended attributes and
// content. Times are not compared, since directories get theirs from whatever
// was unpacked last.
type trees struct {
	got, want string
	// known are directories that are wrong in a layer below. Those above that
	// the layer does not list took after them.
	known map[string]bool
	found []difference
	more  int
	stop  func() error // why to give up, nil to go on
}

func (t *trees) add(path, format string, args ...any) {
	if len(t.found) == maxDifferences {
		t.more++
		return
	}
	t.found = append(t.found, difference{path, fmt.Sprintf(format, args...)})
}

// compare goes through both folders side by side. An error is one of reading.
func (t *trees) compare() error { return t.entry("/") }

func (t *trees) entry(path string) error {
	if err := t.stop(); err != nil {
		return err
	}
	var got, want unix.Stat_t
	if err := unix.Lstat(t.want+path, &want); err != nil {
		return &os.PathError{Op: "lstat", Path: t.want + path, Err: err}
	}
	switch err := unix.Lstat(t.got+path, &got); {
	case err == unix.ENOENT:
		t.add(path, "%s is missing", describe(&want))
		return nil
	case err != nil:
		return &os.PathError{Op: "lstat", Path: t.got + path, Err: err}
	}
	if describe(&got) != describe(&want) {
		t.add(path, "got %s, want %s", describe(&got), describe(&want))
		return nil
	}
	if err := t.attributes(path, &got, &want); err != nil {
		return err
	}
	switch want.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return t.directory(path)
	case unix.S_IFREG:
		return t.file(path, &got, &want)
	case unix.S_IFLNK:
		return t.link(path)
	}
	return nil
}

// describe names what a file is: its type and, of a device, its number.
func describe(st *unix.Stat_t) string {
	number := fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFBLK:
		return "a block device " + number
	}
	if st.Rdev == 0 {
		return "a whiteout"
	}
	return "a character device " + number
}

func (t *trees) attributes(path string, got, want *unix.Stat_t) error {
	dir := want.Mode&unix.S_IFMT == unix.S_IFDIR
	if dir && t.known[path] {
		return nil
	}
	if got.Mode != want.Mode {
		t.add(path, "got mode %04o, want %04o", got.Mode&0o7777, want.Mode&0o7777)
	}
	if (got.Uid != want.Uid || got.Gid != want.Gid) && path != "/" { // the root belongs to the snapshotter
		t.add(path, "got owner %d:%d, want %d:%d", got.Uid, got.Gid, want.Uid, want.Gid)
	}
	if !dir && got.Nlink != want.Nlink {
		t.add(path, "got %d hard links, want %d", got.Nlink, want.Nlink)
	}
	return t.xattrs(path)
}

func (t *trees) xattrs(path string) error {
	got, err := xattrs(t.got + path)
	if err != nil {
		return err
	}
	want, err := xattrs(t.want + path)
	if err != nil {
		return err
	}
	all := maps.Clone(got)
	maps.Copy(all, want)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		g, has := got[key]
		switch w, should := want[key]; {
		case !has:
			t.add(path, "extended attribute %s is missing", key)
		case !should:
			t.add(path, "extended attribute %s is not in the layer", key)
		case g != w:
			t.add(path, "extended attribute %s has another value", key)
		}
	}
	return nil
}

// xattrs are those that a layer decides. Overlayfs keeps notes of its own, and
// the system labels files for SELinux by their place.
func xattrs(path string) (map[string]string, error) {
	buf := make([]byte, 64<<10) // the most that Linux returns
	n, err := unix.Llistxattr(path, buf)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	all := map[string]string{}
	for key := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if key == "" || key == "security.selinux" || isNote(key) {
			continue
		}
		n, err := unix.Lgetxattr(path, key, buf)
		if err != nil {
			return nil, &os.PathError{Op: "lgetxattr", Path: path, Err: err}
		}
		all[key] = string(buf[:n])
	}
	return all, nil
}

// isNote reports whether the attribute is one of the notes of overlayfs, which has
// them under one of two names.
func isNote(key string) bool {
	note, own := strings.CutPrefix(key, "trusted.overlay.")
	if !own {
		note, own = strings.CutPrefix(key, "user.overlay.")
	}
	return own && slices.Contains([]string{"origin", "impure", "nlink", "uuid"}, note)
}

func (t *trees) directory(path string) error {
	got, err := names(t.got + path)
	if err != nil {
		return err
	}
	want, err := names(t.want + path)
	if err != nil {
		return err
	}
	for _, name := range got {
		if _, ok := slices.BinarySearch(want, name); ok {
			continue
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(t.got, path, name), &st); err != nil {
			return &os.PathError{Op: "lstat", Path: filepath.Join(t.got, path, name), Err: err}
		}
		t.add(filepath.Join(path, name), "%s that is not in the layer", describe(&st))
	}
	for _, name := range want {
		if err := t.entry(filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// names are sorted.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	slices.Sort(all)
	return all, err
}

func (t *trees) link(path string) error {
	got, err := os.Readlink(t.got + path)
	if err != nil {
		return err
	}
	want, err := os.Readlink(t.want + path)
	if err == nil && got != want {
		t.add(path, "got link to %q, want %q", got, want)
	}
	return err
}

func (t *trees) file(path string, gotStat, wantStat *unix.Stat_t) error {
	if gotStat.Size != wantStat.Size {
		t.add(path, "got %d bytes, want %d", gotStat.Size, wantStat.Size)
		return nil
	}
	got, err := openFile(t.got + path)
	if err != nil {
		return err
	}
	defer got.Close()
	want, err := openFile(t.want + path)
	if err != nil {
		return err
	}
	defer want.Close()
	same, err := t.sameBytes(got, want)
	if err == nil && !same {
		t.add(path, "got other content of the same size")
	}
	return err
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

func (t *trees) sameBytes(a, b io.Reader) (bool, error) {
	var bufA, bufB [64 << 10]byte
	for {
		if err := t.stop(); err != nil {
			return false, err
		}
		n, errA := io.ReadFull(a, bufA[:])
		m, errB := io.ReadFull(b, bufB[:])
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		ended := ended(errA) && ended(errB)
		if ended || errA != nil || errB != nil {
			return ended, errors.Join(ignoreEnd(errA), ignoreEnd(errB))
		}
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

func ignoreEnd(err error) error {
	if ended(err) {
		return nil
	}
	return err
}
