package erofs_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// TestDaemonTakesImages: containerd's erofs snapshotter takes images for its own that
// lie beside what Prepare returned, each prepared without the layer below, and what it
// mounts of them runs. There need be no mkfs.erofs.
func TestDaemonTakesImages(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Contents("busybox.tar.gz"))
	d := testdaemon.Start(t, testdaemon.Options{})
	client, err := containerd.New(d.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := namespaces.WithNamespace(t.Context(), "erofs")
	ctx, release, err := client.WithLease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer release(context.WithoutCancel(ctx))
	sn := client.SnapshotService("erofs")
	above := []tar.Header{
		{Typeflag: tar.TypeReg, Name: "bin/.wh.ls"}, {Typeflag: tar.TypeDir, Name: "etc", Mode: 0o711}, {Typeflag: tar.TypeReg, Name: "etc/.wh..wh..opq"},
		{Typeflag: tar.TypeSymlink, Name: "etc/link", Linkname: "above"},
	}
	commitImage(ctx, t, sn, "below", "", busybox(t), layer.InPlace)
	commitImage(ctx, t, sn, "above", "below", stream(t, len(above), func(i int) tar.Header { return above[i] }), layer.Overlay)

	mounts, err := sn.Prepare(ctx, "container", "above")
	if err != nil {
		t.Fatal(err)
	}
	active, err := client.MountManager().Activate(ctx, "container", mounts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.MountManager().Deactivate(context.WithoutCancel(ctx), "container") })
	root := t.TempDir()
	if err := mount.All(active.System, root); err != nil {
		t.Fatal(err)
	}
	defer mount.UnmountAll(root, 0)
	out, err := exec.CommandContext(t.Context(), "chroot", root, "/bin/busybox", "sh", "-c",
		"busybox ls etc; busybox readlink etc/link; test -e bin/ls || busybox echo gone; busybox stat -c %a etc; busybox touch new && busybox echo written").CombinedOutput()
	if want := "link\nabove\ngone\n711\nwritten\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

// busybox is the layer of a small system.
func busybox(t *testing.T) io.Reader {
	t.Helper()
	name, err := pulltest.Content("busybox.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// commitImage makes a snapshot of a layer on top of parent, which it gets last.
func commitImage(ctx context.Context, t *testing.T, sn snapshots.Snapshotter, name, parent string, r io.Reader, whiteouts layer.Whiteouts) {
	t.Helper()
	mounts, err := sn.Prepare(ctx, "extract-"+name, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(mounts[len(mounts)-1].Source)
	file, err := os.Create(filepath.Join(dir, "layer.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := write(t, file, r, layer.Options{Whiteouts: whiteouts}); err != nil {
		t.Fatal(err)
	}
	var opts []snapshots.Opt
	if parent != "" {
		opts = append(opts, snapshots.WithParent(parent))
	}
	if err := sn.Commit(ctx, name, "extract-"+name, opts...); err != nil {
		t.Fatal(err)
	}
	if usage, err := sn.Usage(ctx, name); err != nil || usage.Size == 0 {
		t.Errorf("%s: got usage %v, %v, want some", name, usage, err)
	}
}
