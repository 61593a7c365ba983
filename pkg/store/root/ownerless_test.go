package root_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// TestN8Ownerless applies layers in each compression: the files belong to this user,
// and the description that comes back is that of the archive.
func TestN8Ownerless(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	owned := pulltest.Regular("www/page", "text")
	owned.UID, owned.GID = 33, 33
	s := teststore.Open(t, store.Options{Root: filepath.Join(t.TempDir(), "root"), Snapshotter: store.Native})
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	applier := root.Ownerless(s.Content)
	for c, mediaType := range map[pulltest.Compression]string{
		pulltest.Uncompressed: ocispec.MediaTypeImageLayer, pulltest.Gzip: ocispec.MediaTypeImageLayerGzip, pulltest.Zstd: ocispec.MediaTypeImageLayerZstd,
	} {
		layer := pulltest.NewLayer(c, pulltest.Directory("www"), owned)
		body, err := layer.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: teststore.Blob(ctx, t, s, string(body)), Size: layer.Size}
		dir := t.TempDir()
		got, err := applier.Apply(ctx, desc, []mount.Mount{{Type: "bind", Source: dir, Options: []string{"rw", "rbind"}}}, diff.WithSyncFs(true))
		if err != nil || got.Digest != layer.DiffID || got.MediaType != ocispec.MediaTypeImageLayer {
			t.Errorf("%s: got %+v and %v, want the archive %s", mediaType, got, err, layer.DiffID)
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(dir, "www/page"), &st); err != nil || int(st.Uid) != os.Geteuid() {
			t.Errorf("%s: got owner %d and %v, want this user", mediaType, st.Uid, err)
		}
	}
	missing := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: ocispec.DescriptorEmptyJSON.Digest, Size: 2}
	if _, err := applier.Apply(ctx, missing, nil); !errdefs.IsNotFound(err) {
		t.Errorf("got %v of a blob that is not there", err)
	}
	unknown := ocispec.Descriptor{MediaType: "application/x-other", Digest: teststore.Blob(ctx, t, s, "other"), Size: 5}
	if _, err := applier.Apply(ctx, unknown, nil); err == nil {
		t.Error("got no error of a layer of an unknown type")
	}
}
