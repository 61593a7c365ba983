package pulltest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

func unpacked(t *testing.T, l pulltest.Layer) []byte {
	t.Helper()
	data, err := l.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(data)
	switch l.Compression {
	case pulltest.Gzip:
		var err error
		r, err = gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
	case pulltest.Zstd:
		var err error
		r, err = zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestLayersAreWhatTheyClaim(t *testing.T) {
	for _, c := range []pulltest.Compression{pulltest.Uncompressed, pulltest.Gzip, pulltest.Zstd} {
		img := pulltest.SmallImage(c)
		for i, l := range img.Layers {
			data, err := l.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if digest.FromBytes(data) != l.Digest || int64(len(data)) != l.Size {
				t.Errorf("layer %d of %q is not the blob it claims", i, c)
			}
			if got := digest.FromBytes(unpacked(t, l)); got != l.DiffID {
				t.Errorf("got diff ID %s of layer %d of %q, want %s", got, i, c, l.DiffID)
			}
		}
	}
}

func TestLayerFromFile(t *testing.T) {
	want := pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("a", "content"))
	path := filepath.Join(t.TempDir(), "layer")
	data, err := want.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := pulltest.LayerFromFile(pulltest.Gzip, path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != want.Digest || got.DiffID != want.DiffID || got.Size != want.Size {
		t.Errorf("got %s, %s, %d, want %s, %s, %d", got.Digest, got.DiffID, got.Size, want.Digest, want.DiffID, want.Size)
	}
	if _, err := pulltest.LayerFromFile(pulltest.Gzip, path+".gone"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a missing file, want not exist", err)
	}
}

func TestTarKeepsAttributes(t *testing.T) {
	f := pulltest.Executable("usr/bin/x", "code")
	f.UID, f.GID, f.Mode = 7, 8, 0o4711
	f.Xattrs = map[string]string{"user.a": "b\x00c"}
	archive := pulltest.Tar(f, pulltest.Hardlink("usr/bin/y", "usr/bin/x"), pulltest.CharDevice("dev/zero", 1, 5),
		pulltest.Whiteout("etc/gone"), pulltest.Opaque("var"), pulltest.Whiteout("top"), pulltest.Directory("d"))
	r := tar.NewReader(bytes.NewReader(archive))
	var got []tar.Header
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, tar.Header{Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Mode: h.Mode, Uid: h.Uid,
			Gid: h.Gid, Size: h.Size, Devmajor: h.Devmajor, Devminor: h.Devminor, PAXRecords: h.PAXRecords})
	}
	want := []tar.Header{
		{Typeflag: tar.TypeReg, Name: "usr/bin/x", Mode: 0o4711, Uid: 7, Gid: 8, Size: 4, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b\x00c"}},
		{Typeflag: tar.TypeLink, Name: "usr/bin/y", Linkname: "usr/bin/x", Mode: 0o644},
		{Typeflag: tar.TypeChar, Name: "dev/zero", Mode: 0o666, Devmajor: 1, Devminor: 5},
		{Typeflag: tar.TypeReg, Name: "etc/.wh.gone", Mode: 0o644},
		{Typeflag: tar.TypeReg, Name: "var/.wh..wh..opq", Mode: 0o644},
		{Typeflag: tar.TypeReg, Name: ".wh.top", Mode: 0o644},
		{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

func TestImageDocumentsFitTogether(t *testing.T) {
	img := pulltest.SmallImage(pulltest.Gzip)
	var m ocispec.Manifest
	if err := json.Unmarshal(img.Raw, &m); err != nil {
		t.Fatal(err)
	}
	if m.Config.Digest != img.Config.Digest || m.MediaType != img.Desc.MediaType || digest.FromBytes(img.Raw) != img.Desc.Digest {
		t.Errorf("got manifest %s, want one that fits its config and descriptor", img.Raw)
	}
	var c ocispec.Image
	data, err := img.Config.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(img.DiffIDs(), c.RootFS.DiffIDs); diff != "" {
		t.Errorf("diff IDs (-want +got):\n%s", diff)
	}
	for i, id := range img.ChainIDs() {
		if want := identity.ChainID(img.DiffIDs()[:i+1]); id != want {
			t.Errorf("got chain ID %s for layer %d, want %s", id, i, want)
		}
	}
}

func TestDockerMediaTypes(t *testing.T) {
	var layers []pulltest.Layer
	for _, c := range []pulltest.Compression{pulltest.Uncompressed, pulltest.Gzip, pulltest.Zstd} {
		layers = append(layers, pulltest.NewLayer(c, pulltest.Regular("a", string(c))))
	}
	img := pulltest.NewImage(pulltest.Spec{Docker: true, Layers: layers})
	index := pulltest.NewDockerIndex(img)
	var m ocispec.Manifest
	if err := json.Unmarshal(img.Raw, &m); err != nil {
		t.Fatal(err)
	}
	got := []string{index.Desc.MediaType, m.MediaType, m.Config.MediaType}
	for _, l := range m.Layers {
		got = append(got, l.MediaType)
	}
	want := []string{
		pulltest.DockerIndex, pulltest.DockerManifest, pulltest.DockerConfig,
		pulltest.DockerLayer, pulltest.DockerLayerGzip, pulltest.DockerLayerZstd,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("media types (-want +got):\n%s", diff)
	}
}

func TestMultiPlatformListsItsChildren(t *testing.T) {
	img := pulltest.MultiPlatform(pulltest.Gzip)
	var index ocispec.Index
	if err := json.Unmarshal(img.Raw, &index); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, d := range index.Manifests {
		got = append(got, d.Platform.OS+"/"+d.Platform.Architecture)
		if d.Digest != img.Children[i].Desc.Digest {
			t.Errorf("got digest %s for child %d, want %s", d.Digest, i, img.Children[i].Desc.Digest)
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64", "unknown/unknown"}, got); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

func TestBrokenImages(t *testing.T) {
	wrong := pulltest.WrongDiffID(1)
	var c ocispec.Image
	data, err := wrong.Config.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	if c.RootFS.DiffIDs[0] != wrong.Layers[0].DiffID || c.RootFS.DiffIDs[1] == wrong.Layers[1].DiffID {
		t.Errorf("got diff IDs %v, want the second alone to be wrong", c.RootFS.DiffIDs)
	}
	notJSON := pulltest.ConfigNotJSON()
	broken, err := notJSON.Config.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if json.Valid(broken) {
		t.Error("got a JSON config, want none")
	}
}

// output runs a command: decompressing hundreds of megabytes takes a program a
// second and Go's race detector minutes.
func output(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), command, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestPreparedContentIsWhatItClaims(t *testing.T) {
	pulltest.Need(t, pulltest.Contents("debian.tar.gz", "npm.tar.gz", "busybox.tar.gz"))
	real := pulltest.RealImage(t)
	small := pulltest.BusyboxImage(t)
	for name, l := range map[string]pulltest.Layer{
		"debian.tar.gz": real.Layers[0], "npm.tar.gz": real.Layers[1], "busybox.tar.gz": small.Layers[0],
	} {
		path, err := pulltest.Content(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := output(t, "sh", "-c", `gzip -dc "$0" | sha256sum`, path); !strings.HasPrefix(got, l.DiffID.Encoded()) {
			t.Errorf("got diff ID %s for %s, want %s", got, name, l.DiffID)
		}
		if got := output(t, "sha256sum", path); !strings.HasPrefix(got, l.Digest.Encoded()) {
			t.Errorf("got digest %s for %s, want %s", got, name, l.Digest)
		}
	}
	npm, err := pulltest.Content("npm.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(output(t, "tar", "-tzf", npm), "\n"); got < 20000 {
		t.Errorf("got %d entries in the npm layer, want at least 20000", got)
	}
}
