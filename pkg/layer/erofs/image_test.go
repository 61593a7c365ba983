package erofs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/layer/erofs"
)

// create makes the file of an image.
func create(t testing.TB) *os.File {
	t.Helper()
	return createIn(t, t.TempDir())
}

func createIn(t testing.TB, dir string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "layer.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// stream is a tar stream of n entries, which are made as they are read.
func stream(t testing.TB, n int, entry func(i int) tar.Header) io.Reader {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	go func() {
		tw := tar.NewWriter(w)
		for i := range n {
			hdr := entry(i)
			if tw.WriteHeader(&hdr) != nil {
				return
			}
		}
		w.CloseWithError(tw.Close())
	}()
	return r
}

func write(t testing.TB, file *os.File, r io.Reader, o layer.Options) error {
	t.Helper()
	image := erofs.New(file, erofs.NewBudget(maxHeld))
	if _, err := layer.Apply(t.Context(), image, r, o); err != nil {
		return err
	}
	return image.Finish()
}

// heap is what the program holds in memory.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// maxHeld is enough for all that is not about memory.
const maxHeld = 96 << 20

// buffers are what an image and Apply have besides.
const buffers = 2 << 20

// bound is what an image of a test may hold in memory: EROFS_HELD MiB, or little.
func bound(t testing.TB) int {
	t.Helper()
	s := os.Getenv("EROFS_HELD")
	if s == "" {
		return 4 << 20
	}
	mebibytes, err := strconv.ParseUint(s, 10, 16)
	if err != nil || mebibytes == 0 || mebibytes<<20 > maxHeld {
		t.Fatalf("EROFS_HELD: %q, %v, want a number up to %d", s, err, maxHeld>>20)
	}
	return int(mebibytes << 20)
}

// TestMemoryIsBounded: what a layer has of files or of attributes is refused before
// it takes more memory than is allowed for.
func TestMemoryIsBounded(t *testing.T) {
	most, value := bound(t), strings.Repeat("x", 60_000)
	for name, c := range map[string]struct {
		n     int
		entry func(i int) tar.Header
	}{
		"files": {2_000_000, func(i int) tar.Header {
			return tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%0100d", i)}
		}},
		"attributes": {100_000, func(i int) tar.Header {
			return tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i), PAXRecords: map[string]string{"SCHILY.xattr.user.a": fmt.Sprint(i) + value}}
		}},
		"targets": {1_000_000, func(i int) tar.Header {
			return tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprint(i), Linkname: fmt.Sprint(i) + value[:3000]}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			image := erofs.New(create(t), erofs.NewBudget(int64(most)))
			_, err := layer.Apply(t.Context(), image, stream(t, c.n, c.entry), layer.Options{})
			if !errors.Is(err, erofs.ErrHeld) || !errdefs.IsInvalidArgument(err) {
				t.Errorf("got error %v, want %v", err, erofs.ErrHeld)
			}
			if taken, limit := int64(heap()-before), int64(most)*4/3+buffers; taken > limit {
				t.Errorf("got %d bytes of memory in use, want at most %d", taken, limit)
			}
			runtime.KeepAlive(image)
		})
	}
}

// TestNothingElseOfHeadersIsHeld: names, targets and attributes are parts of one text
// with all records of their entry.
func TestNothingElseOfHeadersIsHeld(t *testing.T) {
	const n, padding = 100, 500_000
	before := heap()
	image := erofs.New(create(t), erofs.NewBudget(1<<20))
	_, err := layer.Apply(t.Context(), image, stream(t, n, func(i int) tar.Header {
		return tar.Header{
			Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("%0120d", i), Linkname: fmt.Sprintf("%0120d", i),
			PAXRecords: map[string]string{"SCHILY.xattr.trusted.a": fmt.Sprint(i), "comment": strings.Repeat("x", padding)},
		}
	}), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if taken := int64(heap() - before); taken > n*padding/10+buffers {
		t.Errorf("got %d bytes of memory in use for %d links", taken, n)
	}
	runtime.KeepAlive(image)
}

// TestManyAttributes gives a file again and again what attributes it has room for: the
// size is that of those it has.
func TestManyAttributes(t *testing.T) {
	records := map[string]string{}
	for i := range 400 {
		records[fmt.Sprintf("SCHILY.xattr.trusted.%03d", i)] = strings.Repeat("x", 600)
	}
	image := erofs.New(create(t), erofs.NewBudget(1<<22))
	_, err := layer.Apply(t.Context(), image, stream(t, 50, func(i int) tar.Header {
		return tar.Header{Typeflag: tar.TypeDir, Name: "d/", PAXRecords: records}
	}), layer.Options{})
	if err := errors.Join(err, image.Finish()); err != nil {
		t.Error(err)
	}
}

// TestNamesThatGo: what is replaced does not count, however often it is.
func TestNamesThatGo(t *testing.T) {
	entry := func(i int) tar.Header {
		kind := []byte{tar.TypeDir, tar.TypeReg, tar.TypeSymlink, tar.TypeFifo}[i%4]
		hdr := tar.Header{Typeflag: kind, Name: "d", Mode: 0o644}
		switch kind {
		case tar.TypeReg:
			hdr.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "1"}
		case tar.TypeSymlink:
			hdr.Linkname = strings.Repeat("t", 4000)
		}
		return hdr
	}
	image := erofs.New(create(t), erofs.NewBudget(1<<20))
	_, err := layer.Apply(t.Context(), image, stream(t, 2000, entry), layer.Options{Whiteouts: layer.InPlace})
	if err := errors.Join(err, image.Finish()); err != nil {
		t.Error(err)
	}
}

// TestHoles: zeros take no room on the disk, and are limited all the same.
func TestHoles(t *testing.T) {
	file := create(t)
	const size = 1 << 26
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: size}); err != nil {
		t.Fatal(err)
	}
	data := io.MultiReader(&archive, io.LimitReader(zeros{}, size+1024))
	if err := write(t, file, data, layer.Options{MaxBytes: 2 * size}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size < size || st.Blocks*512 > 4<<20 {
		t.Errorf("got a file of %d bytes that takes %d, want at least %d and next to none", st.Size, st.Blocks*512, int64(size))
	}
}

// zeros is an endless stream of them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestFullDisk: the error of a disk that is full keeps its identity, whether it comes
// with the data or at the end.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, size := range []int{1 << 20, 100} {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		file := createIn(t, dir)
		if err := write(t, file, bytes.NewReader(filesOf(t, 1000, size)), layer.Options{}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("files of %d bytes: got %v, want %v", size, err, unix.ENOSPC)
		}
	}
}

// filesOf is an archive of n files; together they have not more than 16 MiB.
func filesOf(t testing.TB, n, size int) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	body := bytes.Repeat([]byte("x"), size)
	for i := range min(n, 16<<20/size) {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i), Size: int64(size)}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestUnfitAttributes: what Linux takes and the format does not is named.
func TestUnfitAttributes(t *testing.T) {
	header := func(name string, values ...int) tar.Header {
		hdr := tar.Header{Typeflag: tar.TypeReg, Name: name, PAXRecords: map[string]string{}}
		for i, size := range values {
			hdr.PAXRecords[fmt.Sprintf("SCHILY.xattr.user.%d", i)] = strings.Repeat("x", size)
		}
		return hdr
	}
	for name, c := range map[string]struct {
		hdr  tar.Header
		want error
	}{
		"largest value":    {header("f", 65535), nil},
		"too large value":  {header("f", 65536), layer.ErrUnfit},
		"above the kernel": {header("f", 65537), errdefs.ErrInvalidArgument},
		"most":             {header("f", 65000, 65000, 65000, 65000), nil},
		"too many":         {header("f", 65500, 65500, 65500, 65500, 100), layer.ErrUnfit},
	} {
		err := write(t, create(t), stream(t, 1, func(int) tar.Header { return c.hdr }), layer.Options{})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestOverlayOfImages mounts two images as the lower layers of an overlay.
func TestOverlayOfImages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	below := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "d", Mode: 0o1777}, {Typeflag: tar.TypeReg, Name: "d/gone"}, {Typeflag: tar.TypeReg, Name: "d/kept"},
		{Typeflag: tar.TypeDir, Name: "o", Mode: 0o755}, {Typeflag: tar.TypeReg, Name: "o/hidden"},
	}
	above := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "d", Mode: 0o1777}, {Typeflag: tar.TypeReg, Name: "d/.wh.gone"},
		{Typeflag: tar.TypeDir, Name: "o", Mode: 0o711}, {Typeflag: tar.TypeReg, Name: "o/.wh..wh..opq"}, {Typeflag: tar.TypeReg, Name: "o/shown"},
	}
	var dirs []string
	for _, entries := range [][]tar.Header{above, below} {
		file := create(t)
		if err := write(t, file, stream(t, len(entries), func(i int) tar.Header { return entries[i] }), layer.Options{}); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, mountAt(t, file.Name(), "erofs", ""))
	}
	root := mountAt(t, "overlay", "overlay", "lowerdir="+strings.Join(dirs, ":"))
	got := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != root {
			var info os.FileInfo
			if info, err = d.Info(); err == nil {
				got[strings.TrimPrefix(path, root+"/")] = info.Mode().String()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"d": "dtrwxrwxrwx", "d/kept": "----------", "o": "drwx--x--x", "o/shown": "----------"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// mountAt mounts source, read-only, until the test ends. Linux before 6.12 needs a loop
// device for an image.
func mountAt(t testing.TB, source, kind, options string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount(source, dir, kind, unix.MS_RDONLY, options)
	if errors.Is(err, unix.ENOTBLK) {
		err = exec.CommandContext(t.Context(), "mount", "-t", kind, "-o", "ro,loop", source, dir).Run()
	}
	if err != nil {
		t.Fatalf("mounting %s: %v", source, err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}
