package layer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/layer/erofs"
)

// target is what a layer is applied to, and where it is seen then.
type target struct {
	sys  layer.System
	show func() (root string)
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
	return target{of(dir), func() string { return s.root }}
}

// inImage applies to an EROFS image, which the kernel shows.
func inImage(t testing.TB, sc *scene, _ stage) target {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "layer.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	image := erofs.New(file)
	if sc.set == first {
		for _, data := range sc.below {
			if _, err := layer.Apply(t.Context(), image, bytes.NewReader(data), layer.Options{Whiteouts: layer.InPlace}); err != nil {
				t.Fatalf("preparing the layers below: %v", err)
			}
		}
	}
	return target{image, func() string {
		if err := image.Finish(); err != nil {
			t.Fatal(err)
		}
		checkImage(t, file.Name())
		return mountImage(t, file.Name())
	}}
}

// writeImage makes the image name of an archive.
func writeImage(ctx context.Context, name string, data []byte, o layer.Options) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	image := erofs.New(file)
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
