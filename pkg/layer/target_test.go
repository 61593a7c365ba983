package layer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/layer/erofs"
)

// target is what a layer is applied to, and where it is seen then.
type target struct {
	sys    layer.System
	finish func() layer.Setter                     // for what is inherited afterwards
	lowers func(folders []*os.File) []layer.Reader // the layers below, nearest first
	show   func() (root string)
}

// makers make what the tree of a scene, which is on the stage, becomes under Apply.
var makers = map[string]func(testing.TB, *scene, stage) target{
	"openat2": func(t testing.TB, _ *scene, s stage) target { return onStage(t, s, layer.Folder) },
	"walking": func(t testing.TB, _ *scene, s stage) target { return onStage(t, s, layer.FolderByWalking) },
	"erofs":   inImage,
}

func onStage(t testing.TB, s stage, of func(*os.File) layer.System) target {
	t.Helper()
	dir, err := os.Open(s.root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	sys := of(dir)
	return target{sys, func() layer.Setter { return sys }, layer.Folders, func() string { return s.root }}
}

// inImage applies to an EROFS image, which the kernel shows.
func inImage(t testing.TB, sc *scene, _ stage) target {
	t.Helper()
	file := createImage(t)
	image := erofs.New(file, plenty())
	if sc.set == first {
		for _, data := range sc.below {
			if _, err := layer.Apply(t.Context(), image, bytes.NewReader(data), layer.Options{Whiteouts: layer.InPlace}); err != nil {
				t.Fatalf("preparing the layers below: %v", err)
			}
		}
	}
	lowers := func([]*os.File) []layer.Reader { return sc.images(t) }
	finish := func() layer.Setter {
		if err := image.Finish(); err != nil {
			t.Fatal(err)
		}
		image.Discard()
		edited, err := erofs.Edit(file)
		if err != nil {
			t.Fatal(err)
		}
		return edited
	}
	return target{image, finish, lowers, func() string {
		checkImage(t, file.Name())
		return mountImage(t, file.Name())
	}}
}

// plenty is memory enough for any image of these tests.
func plenty() *erofs.Budget { return erofs.NewBudget(96 << 20) }

// images are the layers below, of an overlay, as images, nearest first.
func (sc *scene) images(t testing.TB) (all []layer.Reader) {
	t.Helper()
	if sc.set != upper {
		return nil
	}
	for _, data := range sc.below {
		file := createImage(t)
		image := erofs.New(file, plenty())
		if _, err := layer.Apply(t.Context(), image, bytes.NewReader(data), layer.Options{Lowers: all}); err != nil {
			t.Fatalf("preparing the layers below: %v", err)
		}
		if err := image.Finish(); err != nil {
			t.Fatal(err)
		}
		all = append([]layer.Reader{openImage(t, file)}, all...)
	}
	return all
}

func createImage(t testing.TB) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "layer.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func openImage(t testing.TB, file *os.File) *erofs.Reader {
	t.Helper()
	r, err := erofs.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// writeImage makes the image name of an archive.
func writeImage(ctx context.Context, name string, data []byte, o layer.Options) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	image := erofs.New(file, plenty())
	if _, err := layer.Apply(ctx, image, bytes.NewReader(data), o); err != nil {
		return err
	}
	return image.Finish()
}

// checkImage has fsck.erofs look at an image, if it is installed.
func checkImage(t testing.TB, name string) {
	t.Helper()
	fsck, err := exec.LookPath("fsck.erofs")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs fsck.erofs")
		}
		return
	}
	if out, err := exec.CommandContext(t.Context(), fsck, name).CombinedOutput(); err != nil {
		t.Errorf("fsck.erofs: %v\n%s", err, out)
	}
}

// mountImage mounts an image until the test ends. Linux before 6.12 needs a loop
// device for that.
func mountImage(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount(name, dir, "erofs", unix.MS_RDONLY, "")
	if errors.Is(err, unix.ENOTBLK) {
		err = exec.CommandContext(t.Context(), "mount", "-t", "erofs", "-o", "ro,loop", name, dir).Run()
	}
	if err != nil {
		t.Fatalf("mounting the image: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestReadImages: what is read of an image is what the kernel shows of the folder that
// mkfs.erofs made it of, or of the layer that this program did.
func TestReadImages(t *testing.T) {
	needRoot(t)
	mkfs, err := exec.LookPath("mkfs.erofs")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs mkfs.erofs")
		}
		t.Skip("mkfs.erofs is not installed")
	}
	read := 0
	for i, name := range sample(corpus) {
		if i%3 > 0 && !strings.Contains(name, "name") {
			continue // it takes its time
		}
		data := archive(t, corpus[name].apply...)
		root := t.TempDir()
		if _, err := layer.ApplyTo(t.Context(), root, bytes.NewReader(data), layer.Options{}); err != nil {
			continue
		}
		made, own := filepath.Join(t.TempDir(), "layer.erofs"), filepath.Join(t.TempDir(), "layer.erofs")
		images := []string{own, made}
		if err := exec.CommandContext(t.Context(), mkfs, made, root).Run(); err != nil {
			images = images[:1] // version 1.5 makes none of some long names
		} else {
			read++
		}
		if err := writeImage(t.Context(), own, data, layer.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, image := range images {
			file, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			shown := mountImage(t, image)
			dir, err := os.Open(shown)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(readTree(t, layer.Folder(dir), shown), readTree(t, openImage(t, file), shown)); diff != "" {
				t.Errorf("%s, %s (-mounted +read):\n%s", name, image, diff)
			}
			file.Close()
			dir.Close()
		}
	}
	if read == 0 {
		t.Error("mkfs.erofs has made no image")
	}
}

// readTree describes what a Reader shows at the paths of a folder.
func readTree(t testing.TB, r layer.Reader, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(path, folder), "/")
		all[rel], err = readPath(r, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all["nothing"] = fmt.Sprint(readPath(r, "nothing"))
	all["long"] = fmt.Sprint(readPath(r, strings.Repeat("n", 256)))
	return all
}

// readPath describes a file by what a Reader says of it.
func readPath(r layer.Reader, path string) (string, error) {
	fd, err := r.Root()
	if err != nil {
		return "", err
	}
	parent, name := filepath.Split(path)
	for part := range strings.FieldsFuncSeq(parent, func(c rune) bool { return c == '/' }) {
		below, err := r.OpenDir(fd, part)
		if err := errors.Join(err, r.Close(fd)); err != nil {
			return "", err
		}
		fd = below
	}
	defer r.Close(fd)
	if name == "" {
		name = "."
	}
	var st unix.Stat_t
	if err := r.Stat(fd, name, &st); err != nil {
		return "", err
	}
	peeked, err := r.Peek(fd, name)
	if err != nil {
		return "", err
	}
	defer r.Close(peeked)
	target, err := r.Readlink(peeked)
	if err != nil {
		return "", err
	}
	attrs := ""
	dir, err := r.OpenDir(fd, name)
	if err == nil {
		defer r.Close(dir)
		attrs, err = readXattrs(r, dir)
	} else if isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; !isDir && errors.Is(err, unix.ENOTDIR) {
		err = nil
	}
	return fmt.Sprintf("%o %d:%d %d bytes, %v -> %q %s", st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, target, attrs), err
}

func readXattrs(r layer.Reader, dir int) (string, error) {
	var keys, value [4096]byte
	n, err := r.Listxattr(dir, keys[:])
	if err != nil {
		return "", err
	}
	all := strings.FieldsFunc(string(keys[:n]), func(c rune) bool { return c == 0 })
	slices.Sort(all)
	for i, key := range all {
		n, err := r.Getxattr(dir, key, value[:])
		if err != nil {
			return "", err
		}
		all[i] = fmt.Sprintf("%s=%q", key, value[:n])
	}
	return strings.Join(all, " "), nil
}
