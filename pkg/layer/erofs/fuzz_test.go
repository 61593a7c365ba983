package erofs_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/layer/erofs"
)

// small is an image with something of everything that is read of one.
func small(t testing.TB) []byte {
	t.Helper()
	entries := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "1", "SCHILY.xattr.security.b": "2"}},
		{Typeflag: tar.TypeSymlink, Name: "d/l", Linkname: "f"},
	}
	for i := range 40 {
		entries = append(entries, tar.Header{Typeflag: tar.TypeReg, Name: "d/" + strings.Repeat("n", 100+i), Format: tar.FormatPAX})
	}
	file := create(t)
	if err := write(t, file, stream(t, len(entries), func(i int) tar.Header { return entries[i] }), layer.Options{}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzRead changes a few bytes of an image. What is read of it then is something or
// one of a few errors.
func FuzzRead(f *testing.F) {
	image := small(f)
	f.Add(uint16(1024), []byte{1})
	f.Add(uint16(1024+80), []byte{0xff})
	for off := 4096; off < len(image); off += 64 {
		f.Add(uint16(off), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		f.Add(uint16(off+8), []byte{0, 0, 0, 0, 0, 0, 0, 0x80})
	}
	f.Fuzz(func(t *testing.T, at uint16, bytes []byte) {
		data := slices.Clone(image)
		copy(data[min(int(at), len(data)):], bytes)
		name := filepath.Join(t.TempDir(), "layer.erofs")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		r, err := erofs.Open(file)
		if err != nil {
			if !errdefs.IsDataLoss(err) && !errdefs.IsNotImplemented(err) {
				t.Errorf("opening: %v", err)
			}
			return
		}
		for _, err := range readAll(r) {
			if err != nil && !isAnswer(err) {
				t.Error(err)
			}
		}
	})
}

// readAll reads what an image like small has.
func readAll(r *erofs.Reader) (errs []error) {
	root, err := r.Root()
	if err != nil {
		return []error{err}
	}
	var st unix.Stat_t
	errs = append(errs, r.Stat(root, ".", &st), r.Stat(root, "d", &st))
	dir, err := r.OpenDir(root, "d")
	if err != nil {
		return append(errs, err)
	}
	buf := make([]byte, 64<<10)
	_, listed := r.Listxattr(dir, buf)
	_, got := r.Getxattr(dir, "user.a", buf)
	errs = append(errs, listed, got)
	for _, name := range []string{"l", strings.Repeat("n", 100), strings.Repeat("n", 139), "nothing"} {
		fd, err := r.Peek(dir, name)
		if err == nil {
			_, err = r.Readlink(fd)
		}
		errs = append(errs, err)
	}
	return errs
}

// isAnswer reports whether err is one that a damaged image may give.
func isAnswer(err error) bool {
	return slices.ContainsFunc([]error{unix.EUCLEAN, unix.ENOENT, unix.ENOTDIR, unix.ENODATA, unix.ERANGE, unix.EINVAL, io.EOF}, func(e error) bool { return errors.Is(err, e) })
}

// TestOpenNothing: what is no image is one that is damaged.
func TestOpenNothing(t *testing.T) {
	if _, err := erofs.Open(create(t)); !errdefs.IsDataLoss(err) {
		t.Errorf("got %v, want data loss", err)
	}
}
