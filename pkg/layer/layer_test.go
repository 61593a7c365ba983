package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// mine are the owner and group of the process, so that no root is needed.
func mine() option { return owner(os.Geteuid(), os.Getegid()) }

func TestApplyCountsAndReadsToTheEnd(t *testing.T) {
	data := archive(t, dir("d", mine()), file("d/f", "hello", mine()))
	data = append(data, strings.Repeat("trailing", 100_000)...)
	r := bytes.NewReader(data)
	res, err := layer.ApplyTo(t.Context(), t.TempDir(), iotest.HalfReader(r), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Bytes != int64(len(data)) || r.Len() != 0 {
		t.Errorf("got %d bytes and %d left, want %d and 0", res.Bytes, r.Len(), len(data))
	}
	if res.Entries != 2 {
		t.Errorf("got %d entries, want 2", res.Entries)
	}
	if len(res.Implicit) != 0 || len(res.Warnings) != 0 {
		t.Errorf("got implicit directories %v and warnings %q, want none", res.Implicit, res.Warnings)
	}
}

func TestImplicitDirectories(t *testing.T) {
	data := archive(t, file("a/b/f", "", mine()), dir("a/c", mine()), file("d/f", "", mine()))
	for whiteouts, want := range map[layer.Whiteouts]int{layer.Overlay: 3, layer.InPlace: 0} {
		res, err := layer.ApplyTo(t.Context(), t.TempDir(), bytes.NewReader(data), layer.Options{Whiteouts: whiteouts})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(res.Implicit); got != want {
			t.Errorf("whiteouts %d: got %d implicit directories, want %d", whiteouts, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	entries := []entry{file("f", "", mine(), xattr("trusted.a", "1")), file("g", "", mine(), xattr("trusted.a", "1"))}
	for i := range 30 {
		entries = append(entries, file("h", "", mine(), xattr(fmt.Sprintf("trusted.%d", i), "1")))
	}
	res, err := layer.ApplyTo(t.Context(), t.TempDir(), bytes.NewReader(archive(t, entries...)), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(res.Warnings), 17; got != want {
		t.Fatalf("got %d warnings, want %d: %q", got, want, res.Warnings)
	}
	if got := res.Warnings[0]; !strings.Contains(got, `"trusted.a"`) || !strings.Contains(got, `"f"`) {
		t.Errorf("got warning %q, want one that names trusted.a and f", got)
	}
	if got, want := res.Warnings[16], "15 times"; !strings.Contains(got, want) {
		t.Errorf("got last warning %q, want one that says %q", got, want)
	}
}

// TestTruncated: what breaks off is refused as malformed, wherever containerd
// refuses it. archive/tar takes an end without its mark for an end, and what is
// missing then shows in the digest.
func TestTruncated(t *testing.T) {
	whole := archive(t, file("f", strings.Repeat("x", 700), mine()), dir("d", mine()))
	step := 1
	if testing.Short() {
		step = 37
	}
	refused := 0
	for n := 0; n < len(whole); n += step {
		want := applyOracle(t, t.TempDir(), bytes.NewReader(whole[:n]))
		_, got := layer.ApplyTo(t.Context(), t.TempDir(), bytes.NewReader(whole[:n]), layer.Options{})
		if (want != nil) != errdefs.IsInvalidArgument(got) || (want != nil) != (got != nil) {
			t.Errorf("cut after %d of %d bytes: got error %v, want an invalid argument for %v", n, len(whole), got, want)
		}
		if got != nil {
			refused++
		}
	}
	if refused < len(whole)/step/3 {
		t.Errorf("got %d lengths of %d refused, want more", refused, len(whole))
	}
}

func TestNoArchive(t *testing.T) {
	_, err := layer.ApplyTo(t.Context(), t.TempDir(), strings.NewReader(strings.Repeat("no archive", 1000)), layer.Options{})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("got error %v, want an invalid argument", err)
	}
}

func TestRefusedEntriesAreInvalid(t *testing.T) {
	for name, entries := range map[string][]entry{
		"parent is a file":            {file("f", "", mine()), file("f/g", "", mine())},
		"hard link to nothing":        {hardlink("h", "nothing", mine())},
		"hard link to a directory":    {dir("d", mine()), hardlink("h", "d", mine())},
		"link loop":                   {symlink("a", "a", mine()), file("a/f", "", mine())},
		"long name":                   {file(strings.Repeat("n", 300), "", mine())},
		"10 000 folders deep":         {file(strings.Repeat("d/", 10_000)+"f", "", mine())},
		"unknown type":                {special('7', "f", mine())},
		"negative device number":      {special(tar.TypeFifo, "f", mine(), number(-1, 0), format(tar.FormatGNU))},
		"device number of 33 bits":    {special(tar.TypeFifo, "f", mine(), number(0, 1<<32), format(tar.FormatGNU))},
		"whiteout without a name":     {whiteout(".wh.", mine())},
		"directory that does not end": {dir("d", mine()), dir("d/e", mine()), file("d", "", mine())},
		"link without a target":       {symlink("l", "", mine())},
	} {
		for how, maker := range makers {
			t.Run(name+"/"+how, func(t *testing.T) {
				to := maker(t, newScene(t, first), newStage(t))
				_, err := layer.Apply(t.Context(), to.sys, bytes.NewReader(archive(t, entries...)), layer.Options{})
				if !errdefs.IsInvalidArgument(err) {
					t.Fatalf("got error %v, want an invalid argument", err)
				}
				if n := len(err.Error()); n > 1000 {
					t.Errorf("got a message of %d bytes, want a short one", n)
				}
			})
		}
	}
}

// TestSourceErrorSurvives: the caller gets the reason why the stream ended, not
// that an archive is incomplete.
func TestSourceErrorSurvives(t *testing.T) {
	broken := errors.New("connection lost")
	whole := archive(t, file("f", strings.Repeat("x", 700), mine()))
	for _, n := range []int{0, 100, 512, 1000, len(whole) - 512, len(whole)} {
		r := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken))
		_, err := layer.ApplyTo(t.Context(), t.TempDir(), r, layer.Options{})
		if !errors.Is(err, broken) || errdefs.IsInvalidArgument(err) {
			t.Errorf("broken after %d bytes: got error %v, want %v and nothing about the archive", n, err, broken)
		}
	}
}

func TestCancel(t *testing.T) {
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err := layer.ApplyTo(ctx, t.TempDir(), bytes.NewReader(archive(t, file("f", "", mine()))), layer.Options{})
	if !errors.Is(err, reason) {
		t.Errorf("got error %v, want %v", err, reason)
	}
}

// TestCancelWithinAFile: a file may be as large as a layer.
func TestCancelWithinAFile(t *testing.T) {
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	whole := archive(t, file("f", strings.Repeat("x", 4<<20), mine()))
	r := &trigger{r: bytes.NewReader(whole), after: 1 << 20, do: func() { cancel(reason) }}
	_, err := layer.ApplyTo(ctx, t.TempDir(), r, layer.Options{})
	if !errors.Is(err, reason) {
		t.Errorf("got error %v, want %v", err, reason)
	}
	if r.n > 2<<20 {
		t.Errorf("got %d bytes read after the cancel, want few", r.n-1<<20)
	}
}

// trigger does something when so much was read.
type trigger struct {
	r     io.Reader
	n     int
	after int
	do    func()
}

func (r *trigger) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += n
	if r.n >= r.after {
		r.do()
	}
	return n, err
}

func TestMaxBytes(t *testing.T) {
	whole := archive(t, file("f", strings.Repeat("x", 5000), mine()))
	for limit, ok := range map[int64]bool{0: true, int64(len(whole)): true, int64(len(whole)) - 1: false, 100: false} {
		_, err := layer.ApplyTo(t.Context(), t.TempDir(), bytes.NewReader(whole), layer.Options{MaxBytes: limit})
		if (err == nil) != ok || err != nil && !errors.Is(err, layer.ErrLimit) {
			t.Errorf("limit %d: got error %v, want success = %v, else %v", limit, err, ok, layer.ErrLimit)
		}
	}
}

// TestSparse: PAX sparse files, format 1.0, are files with zeros in them, and
// what they become counts.
func TestSparse(t *testing.T) {
	const size = 1 << 20
	data := sparseArchive(t, size)
	root := t.TempDir()
	if _, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(data), layer.Options{MaxBytes: size}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, make([]byte, size)) {
		t.Errorf("got %d bytes, want %d zeros", len(got), size)
	}
	_, err = layer.ApplyTo(t.Context(), t.TempDir(), bytes.NewReader(data), layer.Options{MaxBytes: size - 1})
	if !errors.Is(err, layer.ErrLimit) {
		t.Errorf("got error %v, want %v", err, layer.ErrLimit)
	}
}

// TestFullFileSystem: the error is one of the system, not of the archive.
func TestFullFileSystem(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m,nr_inodes=50"); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	big := archive(t, file("f", strings.Repeat("x", 2<<20)))
	if _, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(big), layer.Options{}); !isFull(err) {
		t.Errorf("too many bytes: got error %v, want %v", err, syscall.ENOSPC)
	}
	var many []entry
	for i := range 100 {
		many = append(many, dir(fmt.Sprintf("d%d", i)))
	}
	if _, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(archive(t, many...)), layer.Options{}); !isFull(err) {
		t.Errorf("too many files: got error %v, want %v", err, syscall.ENOSPC)
	}
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) && !errdefs.IsInvalidArgument(err) }

func TestClosedRoot(t *testing.T) {
	root, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root.Close()
	if _, err := layer.Apply(t.Context(), layer.Folder(root), bytes.NewReader(nil), layer.Options{}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("got error %v, want %v", err, syscall.EBADF)
	}
}

// TestDescriptors: none is left open, whatever happens.
func TestDescriptors(t *testing.T) {
	needRoot(t)
	before := openDescriptors(t)
	for _, name := range []string{"many directories", "links chained", "link to a link's parent", "opaque last", "inherited from the nearest", "link loop", "nested directory gone"} {
		c := corpus[name]
		for kind, apply := range appliers {
			root := t.TempDir()
			lower := t.TempDir()
			res, err := apply(t.Context(), root, bytes.NewReader(archive(t, c.apply...)), layer.Options{})
			if err == nil {
				err = layer.InheritTo(root, []string{lower, root}, res.Implicit)
			}
			if got := openDescriptors(t); got != before {
				t.Errorf("%s, %s, error %v: got %d open descriptors, want %d", name, kind, err, got, before)
			}
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestIdentityStaysInside makes files of many owners, and beside them files of the
// process's own.
func TestIdentityStaysInside(t *testing.T) {
	t.Parallel()
	needRoot(t)
	var entries []entry
	for i := range 500 {
		entries = append(entries, file(fmt.Sprintf("f%d", i), "x", owner(1000+i, 2000+i)))
	}
	data := archive(t, entries...)
	outside := t.TempDir()
	stop := make(chan struct{})
	var beside sync.WaitGroup
	for i := range 4 {
		beside.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				name := filepath.Join(outside, fmt.Sprintf("%d-%d", i, n%100))
				if err := os.WriteFile(name, nil, 0o600); err != nil {
					t.Error(err)
					return
				}
				wantOwner(t, name, 0, 0)
				if err := os.Remove(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	rounds := 8
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		root := t.TempDir()
		if _, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(data), layer.Options{}); err != nil {
			t.Error(err)
		}
		wantOwner(t, filepath.Join(root, "f77"), 1077, 2077)
	}
	close(stop)
	beside.Wait()
}

func wantOwner(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Error(err)
	}
	if st.Uid != uid || st.Gid != gid {
		t.Errorf("%s belongs to %d:%d, want %d:%d", path, st.Uid, st.Gid, uid, gid)
	}
}
