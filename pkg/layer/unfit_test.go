package layer_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// wantUnfit wants an error that says what does not fit and what to do, and blames
// neither the image nor a want of room.
func wantUnfit(t *testing.T, err error, text string) {
	t.Helper()
	if !errors.Is(err, layer.ErrUnfit) || errdefs.IsInvalidArgument(err) || errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want what the file system cannot hold", err)
	} else if !strings.Contains(err.Error(), text) || failure.HintOf(err) == "" {
		t.Errorf("got %v with hint %q, want %q and a way out", err, failure.HintOf(err), text)
	}
}

// overlayOn mounts an overlay, on which overlayfs cannot make whiteouts.
func overlayOn(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(dir, "merged")
	options := "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Skipf("no overlay can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, 0); err != nil {
			t.Error(err)
		}
	})
	return merged
}

// TestUnfitOverlayOnOverlay is found out by a probe that leaves nothing.
func TestUnfitOverlayOnOverlay(t *testing.T) {
	needRoot(t)
	merged, plain := overlayOn(t), t.TempDir()
	probe := func(dir string) error {
		return layer.WithFolders([]string{dir}, func(all []*os.File) error { return layer.Probe(all[0]) })
	}
	wantUnfit(t, probe(merged), "whiteouts")
	if err := probe(plain); err != nil {
		t.Errorf("got %v of a file system that takes them", err)
	}
	for _, dir := range []string{merged, plain} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("got %v and %v after the probe, want nothing", left, err)
		}
	}
	_, err := layer.ApplyTo(t.Context(), merged, bytes.NewReader(archive(t, whiteout(".wh.x"))), layer.Options{})
	wantUnfit(t, err, "whiteouts")
}

// TestUnfitXattr: an attribute for which a file has no place is not a full disk;
// one that no file of Linux can have is the image's fault.
func TestUnfitXattr(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil || st.Type != unix.EXT4_SUPER_MAGIC {
		t.Skipf("the limits are those of ext4, and this is %#x (%v)", st.Type, err)
	}
	_, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(archive(t, file("f", "", xattr("user.big", strings.Repeat("x", 60<<10))))), layer.Options{})
	wantUnfit(t, err, "user.big")
	_, err = layer.ApplyTo(t.Context(), root, bytes.NewReader(archive(t, file("g", "", xattr("user.big", strings.Repeat("x", 65<<10))))), layer.Options{})
	if !errdefs.IsInvalidArgument(err) || errors.Is(err, layer.ErrUnfit) {
		t.Errorf("got %v, want the archive refused", err)
	}
}
