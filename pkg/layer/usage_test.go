package layer_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// usage is what fs.DiskUsage, which containerd commits snapshots with, finds.
func usage(t testing.TB, root string) fs.Usage {
	t.Helper()
	u, err := fs.DiskUsage(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// checkUsage holds u against fs.DiskUsage of root and returns whether it is
// known.
func checkUsage(t testing.TB, root string, u layer.Usage) bool {
	t.Helper()
	want := usage(t, root)
	inodes, size, ok := layer.MeasureIn(u, root)
	if got := (fs.Usage{Inodes: inodes, Size: size}); ok && got != want {
		t.Errorf("got usage %+v, want that of containerd %+v", got, want)
	}
	return ok
}

// countable are file systems on which the usage is known, by name with what
// mkfs.ext4 is told; tmpfs needs none.
func countable() map[string][]string {
	return map[string][]string{
		"tmpfs":                nil,
		"ext4":                 {"-b", "4096"},
		"ext4 small blocks":    {"-b", "1024", "-g", "1024", "-O", "^flex_bg"}, // no extent is larger than 1 MiB
		"ext4 small inodes":    {"-b", "4096", "-I", "128"},                    // no room for extended attributes
		"ext4 inline data":     {"-b", "4096", "-O", "inline_data"},
		"ext4 clusters":        {"-b", "4096", "-O", "bigalloc", "-C", "16384"},
		"ext4 without extents": {"-b", "4096", "-O", "^extents,^64bit"},
		"ext4 large xattrs":    {"-b", "4096", "-O", "ea_inode"},
		"ext4 without indexes": {"-b", "4096", "-O", "^dir_index"},
	}
}

// mounted returns an empty folder of its own on a file system of that kind.
func mounted(t *testing.T, kind string, options []string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	commands := [][]string{{"mount", "-t", kind, kind, dir}}
	if options != nil {
		if _, err := exec.LookPath("mkfs.ext4"); err != nil && os.Getenv("CI") != "true" {
			t.Skip("mkfs.ext4 is not installed")
		}
		disk := filepath.Join(t.TempDir(), "disk")
		commands = [][]string{
			{"truncate", "-s", "64M", disk},
			slices.Concat([]string{"mkfs.ext4", "-q", "-F", "-N", "8000"}, options, []string{disk}),
			{"mount", "-o", "loop", disk, dir},
		}
	}
	for _, c := range commands {
		if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// subdir makes an empty root in dir that goes when the test ends.
func subdir(t *testing.T, dir string) string {
	t.Helper()
	root, err := os.MkdirTemp(dir, "root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return root
}

// counted is a layer that was applied to a root and counted.
type counted struct {
	root  string
	usage layer.Usage
	known bool
}

// count applies data to a new root in dir and checks the usage before and after
// the files are on disk.
func count(t *testing.T, dir string, data []byte, w layer.Whiteouts) (counted, error) {
	t.Helper()
	c := counted{root: subdir(t, dir)}
	res, err := layer.ApplyTo(t.Context(), c.root, bytes.NewReader(data), layer.Options{Whiteouts: w})
	if err != nil {
		return c, err
	}
	c.usage, c.known = res.Usage, checkUsage(t, c.root, res.Usage)
	writeBack(t, c.root)
	if checkUsage(t, c.root, c.usage) != c.known {
		t.Errorf("got known = %v when the files were on disk, want %v as before", !c.known, c.known)
	}
	return c, nil
}

func writeBack(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// blockLess returns a little less than what fits into a block of dir.
func blockLess(t *testing.T, dir string) int {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Bsize) - 100
}

// long is an attribute of n bytes, which fits into no inode if that is more
// than about 100.
func long(n int) option { return xattr("user.long", strings.Repeat("x", n)) }

// plainLayers are those whose usage must be known in every way to apply them.
// Extended attributes and links have up to most bytes.
func plainLayers(t testing.TB, most int) map[string][]byte {
	t.Helper()
	sized := func(n int) entry { return file(fmt.Sprintf("d/%d", n), strings.Repeat("x", n)) }
	var sizes, many, links []entry
	for _, n := range []int{0, 1, 59, 60, 61, 159, 160, 161, 512, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 16384, 16385, 20000, 48 << 10, 49 << 10, 1 << 20, 6 << 20} {
		sizes = append(sizes, sized(n))
	}
	for i := range 500 {
		many = append(many, file(fmt.Sprintf("many/%d-%s", i, strings.Repeat("n", 60)), "x"))
	}
	for _, n := range []int{1, 59, 60, 61, 200, most} {
		links = append(links, symlink(fmt.Sprintf("l%d", n), strings.Repeat("t/", n)[:n]))
	}
	return map[string][]byte{
		"nothing":       archive(t),
		"sizes":         archive(t, sizes...),
		"links":         archive(t, links...),
		"big directory": archive(t, append(many, dir("many", mode(0o700)))...),
		"directories":   archive(t, manyDirectories()...),
		"xattrs":        archive(t, file("a", "x", long(10)), file("b", "x", long(101)), file("c", strings.Repeat("x", 70_000), long(900)), file("e", "", long(most)), dir("d", long(800)), dir("i/j", long(700)), file("i/j/k/f", "")),
		"inline":        archive(t, file("a", strings.Repeat("x", 100), long(10)), file("b", strings.Repeat("x", 50), long(101)), file("c", strings.Repeat("x", 150))),
		"ACLs":          archive(t, dir("d", xattr("system.posix_acl_default", acl)), file("d/f", "x"), dir("d/e"), symlink("d/l", "f"), special('6', "d/p"), file("d/i/g", "", xattr("system.posix_acl_access", acl))),
		"sparse":        sparseArchive(t, 300_000),
		"hard links":    archive(t, file("f", strings.Repeat("x", 100_000)), hardlink("g", "f"), hardlink("d/h", "g"), symlink("l", "f"), hardlink("m", "l"), hardlink("n", "f", owner(4, 5), mode(0o600))),
		"devices":       archive(t, special('3', "null", number(1, 3)), special('6', "p", xattr("security.foo", "1"))),
		"listed twice":  archive(t, file("d/f", ""), dir("d"), symlink("l", "d"), dir("d/e"), dir("l/e"), dir("d", mode(0o700)), file("l/g", "")),
		"whiteouts":     archive(t, whiteout(".wh..wh..opq"), whiteout("a/.wh.x", owner(3, 3)), whiteout(".wh.y"), whiteout("b/.wh..wh..opq")),
	}
}

// TestUsage: the usage is that of containerd where it is known, it is known of
// plain layers, and it stays right while files are written back.
func TestUsage(t *testing.T) {
	both := []layer.Whiteouts{layer.Overlay, layer.InPlace}
	for name, options := range countable() {
		if testing.Short() && options != nil {
			continue // it takes a disk of its own
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := mounted(t, "tmpfs", options)
			for name, data := range plainLayers(t, blockLess(t, dir)) {
				t.Run(name, func(t *testing.T) {
					for _, w := range both {
						if c, err := count(t, dir, data, w); err != nil || !c.known {
							t.Errorf("whiteouts %d: got known = %v and error %v, want a known usage", w, c.known, err)
						}
					}
				})
			}
			for seed := range 20 * seeds(t) {
				t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
					data := archive(t, generate(rand.New(rand.NewPCG(seed, 0)).IntN, 16)...)
					for _, w := range both {
						_, _ = count(t, dir, data, w) // what is refused is not for this test
					}
				})
			}
		})
	}
}

// TestUsageOfMaps: a file that takes blocks to map it only when it is written
// back is measured late enough.
func TestUsageOfMaps(t *testing.T) {
	const size = 6 << 20
	for _, name := range []string{"ext4 small blocks", "ext4 without extents"} {
		dir := mounted(t, "", countable()[name])
		c, err := count(t, dir, archive(t, file("f", strings.Repeat("x", size))), layer.Overlay)
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(c.root, "f"), &st); err != nil {
			t.Fatal(err)
		}
		if got := st.Blocks * 512; got <= size {
			t.Errorf("%s: got %d bytes for a file of %d, want more for its map", name, got, size)
		}
	}
}

// TestUsageUnknown: what was removed or changed later cannot be counted.
func TestUsageUnknown(t *testing.T) {
	place := mounted(t, "", countable()["ext4"])
	for name, entries := range map[string][]entry{
		"file twice":            {file("f", "1"), file("f", "2")},
		"file over a directory": {file("d/f", "1"), file("d", "2")},
		"directory over a file": {file("d", "1"), dir("d")},
		"link twice":            {symlink("l", "a"), symlink("l", "b")},
		"hard link over a file": {file("f", "1"), file("g", "2"), hardlink("f", "g")},
		"device over a file":    {file("f", "1"), special('6', "f")},
		"whiteout":              {file("f", "1"), whiteout(".wh.f")},
		"opaque directory":      {file("d/e/f", "1"), whiteout("d/.wh..wh..opq")},
		"block by another name": {file("f", "1"), hardlink("g", "f", long(1000))},
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := count(t, place, archive(t, entries...), layer.InPlace); err != nil || c.known {
				t.Errorf("got known = %v and error %v, want an unknown usage", c.known, err)
			}
		})
	}
}

// TestUsageElsewhere: nothing is known of other file systems, of roots with
// something in them, and of roots that are gone.
func TestUsageElsewhere(t *testing.T) {
	data := archive(t, file("d/f", "x"))
	if c, err := count(t, mounted(t, "ramfs", nil), data, layer.Overlay); err != nil || c.known {
		t.Errorf("ramfs: got known = %v and error %v, want an unknown usage", c.known, err)
	}
	root := mounted(t, "tmpfs", nil)
	apply := func() layer.Usage {
		res, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(data), layer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return res.Usage
	}
	usage := apply()
	if !checkUsage(t, root, usage) {
		t.Error("empty root: got an unknown usage, want a known one")
	}
	if err := os.Remove(filepath.Join(root, "d", "f")); err != nil {
		t.Fatal(err)
	}
	if checkUsage(t, root, apply()) {
		t.Error("root with a directory: got a known usage, want an unknown one")
	}
	if err := os.RemoveAll(filepath.Join(root, "d")); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := layer.MeasureIn(usage, root); ok {
		t.Error("directory gone: got a known usage, want an unknown one")
	}
}
