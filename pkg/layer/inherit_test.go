package layer_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// inherit applies entries on top of below, nearest last, and returns the root.
func inherit(t *testing.T, below [][]entry, entries ...entry) string {
	t.Helper()
	sc := newScene(t, upper, archives(t, below)...)
	root := t.TempDir()
	res, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(archive(t, entries...)), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := layer.InheritTo(root, sc.lowers, res.Implicit); err != nil {
		t.Fatal(err)
	}
	return root
}

func wantMode(t *testing.T, name string, want os.FileMode) {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != want {
		t.Errorf("%s: got mode %v, want %v", filepath.Base(name), got, want)
	}
}

// TestInheritWhereContainerdGivesUp: what replaces a file or a loop of links is
// new, and so is everything below it.
func TestInheritWhereContainerdGivesUp(t *testing.T) {
	needRoot(t)
	for name, lower := range map[string]entry{"file": file("d", ""), "loop": symlink("d", "d"), "whiteout": whiteout(".wh.d")} {
		t.Run(name, func(t *testing.T) {
			below := [][]entry{{dir("d", mode(0o700)), dir("d/e", mode(0o700))}, {lower}}
			root := inherit(t, below, file("d/e/f", ""))
			wantMode(t, filepath.Join(root, "d"), os.ModeDir|0o755)
			wantMode(t, filepath.Join(root, "d", "e"), os.ModeDir|0o755)
		})
	}
}

// TestInheritTwice: a caller that repeats a failed commit does no harm.
func TestInheritTwice(t *testing.T) {
	needRoot(t)
	sc := newScene(t, upper, archive(t, dir("d", mode(0o1711), xattr("user.a", "1"))))
	root := t.TempDir()
	res, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(archive(t, file("d/f", ""))), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := layer.InheritTo(root, sc.lowers, res.Implicit); err != nil {
			t.Fatal(err)
		}
		wantMode(t, filepath.Join(root, "d"), os.ModeDir|os.ModeSticky|0o711)
	}
}

func TestInheritWithoutAnything(t *testing.T) {
	root := t.TempDir()
	if err := layer.InheritTo(root, nil, nil); err != nil {
		t.Errorf("no directories, no layers: got error %v, want none", err)
	}
	res, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(archive(t, file("d/f", "", mine()))), layer.Options{Whiteouts: layer.Overlay})
	if err != nil {
		t.Fatal(err)
	}
	closed, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if err := layer.Inherit(layer.Folder(closed), []layer.Reader{layer.Folder(closed)}, res.Implicit); !errors.Is(err, syscall.EBADF) {
		t.Errorf("closed root: got error %v, want %v", err, syscall.EBADF)
	}
}

// TestF9DefaultACLsNeedOrder: what was made in a directory before its default ACL
// was known is made again. What is empty, or has no such ACL, is merely completed.
func TestF9DefaultACLsNeedOrder(t *testing.T) {
	needRoot(t)
	below := dir("d", mode(0o711), xattr("system.posix_acl_default", otherACL))
	for name, tt := range map[string]struct {
		below   entry
		entries []entry
		want    error
	}{
		"a file":           {below, []entry{file("d/f", "")}, layer.ErrOrder},
		"a directory":      {below, []entry{dir("d/e")}, layer.ErrOrder},
		"a file far below": {below, []entry{file("d/e/e/f", "")}, layer.ErrOrder},
		"not in it":        {below, []entry{file("f", "")}, nil},
		"it is listed":     {below, []entry{dir("d"), file("d/f", "")}, nil},
		"an access ACL":    {dir("d", xattr("system.posix_acl_access", otherACL)), []entry{file("d/f", "")}, nil},
	} {
		sc := newScene(t, upper, archive(t, tt.below))
		root := t.TempDir()
		res, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(archive(t, tt.entries...)), layer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := layer.InheritTo(root, sc.lowers, res.Implicit); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}
