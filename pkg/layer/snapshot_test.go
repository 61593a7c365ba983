package layer_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inode is everything about a file that a layer can decide.
type inode struct {
	Mode     string
	UID, GID uint32
	Rdev     uint64
	Nlink    uint64
	First    string // the first name of the same file
	Mtime    string
	Target   string
	Content  string
	Xattrs   map[string]string
}

// recent stands for the time of unpacking, which cannot be compared. Archives
// of these tests have no such times.
const recent = "recent"

// snapshot describes the tree at root, the root included.
func snapshot(t testing.TB, root string, start time.Time) map[string]inode {
	t.Helper()
	tree := map[string]inode{}
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "." + strings.TrimPrefix(path, root)
		n, ino, err := describe(path, start)
		if err != nil {
			return err
		}
		if _, ok := first[ino]; !ok {
			first[ino] = name
		}
		n.First = first[ino]
		tree[name] = n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func describe(path string, start time.Time) (inode, uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return inode{}, 0, err
	}
	n := inode{
		Mode: fmt.Sprintf("%07o", st.Mode), UID: st.Uid, GID: st.Gid, Rdev: uint64(st.Rdev), Nlink: uint64(st.Nlink),
		Mtime: time.Unix(st.Mtim.Unix()).UTC().Format(time.RFC3339Nano),
	}
	if !time.Unix(st.Mtim.Unix()).Before(start.Add(-time.Second)) {
		n.Mtime = recent
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.Content, err = content(path)
	case unix.S_IFLNK:
		n.Target, err = os.Readlink(path)
	}
	if err != nil {
		return inode{}, 0, err
	}
	n.Xattrs, err = xattrs(path)
	return n, st.Ino, err
}

// content is short, so that differences can be read.
func content(path string) (string, error) {
	data, err := os.ReadFile(path)
	if len(data) <= 32 || err != nil {
		return string(data), err
	}
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%d bytes, %s", len(data), hex.EncodeToString(sum[:8])), nil
}

func xattrs(path string) (map[string]string, error) {
	buf := make([]byte, 1<<10) // more than these tests set
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return nil, fmt.Errorf("listing extended attributes of %q: %w", path, err)
	}
	set := map[string]string{}
	for key := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if key == "" {
			continue
		}
		value := make([]byte, 1<<10)
		m, err := unix.Lgetxattr(path, key, value)
		if err != nil {
			return nil, fmt.Errorf("reading extended attribute %q of %q: %w", key, path, err)
		}
		set[key] = string(value[:m])
	}
	return set, nil
}
