package pull_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// failure is an image, or a registry, from which a pull must fail.
type failure struct {
	name   string
	bad    *pulltest.Image
	good   *pulltest.Image // what the mended registry serves; bad itself if nil
	behave pulltest.Behave
	class  func(error) bool
	// resumable failures keep what was fetched, under one lease.
	resumable bool
}

// damage reports a class of failure that blames the image.
func damage(err error) bool { return errdefs.IsDataLoss(err) || errdefs.IsInvalidArgument(err) }

func failures(t *testing.T) []failure {
	t.Helper()
	good := small(t, "good", pulltest.Gzip, pulltest.Spec{})
	behaving := func(n int, b pulltest.Behaviour) pulltest.Behave { return onBlob(good.Layers[n].Digest, b) }
	all := []failure{
		{name: "missing layer", bad: pulltest.Must(pulltest.MissingLayer(1))(t), class: errdefs.IsNotFound},
		{name: "missing config", bad: good.Without(good.Config.Digest), good: good, class: errdefs.IsNotFound},
		{name: "wrong diff ID of the first layer", bad: pulltest.Must(pulltest.WrongDiffID(0))(t), class: errdefs.IsDataLoss},
		{name: "wrong diff ID of the last layer", bad: pulltest.Must(pulltest.WrongDiffID(2))(t), class: errdefs.IsDataLoss},
		{name: "corrupt layer", bad: good, behave: behaving(1, pulltest.Behaviour{Fault: pulltest.Corrupt, After: 100}), class: errdefs.IsDataLoss},
		{name: "corrupt end of a layer", bad: good, behave: behaving(2, pulltest.Behaviour{Fault: pulltest.Corrupt, After: good.Layers[2].Size - 1}), class: errdefs.IsDataLoss},
		{name: "corrupt config", bad: good, behave: onBlob(good.Config.Digest, pulltest.Behaviour{Fault: pulltest.Corrupt, After: 100}), class: errdefs.IsDataLoss},
		{name: "short layer", bad: good, behave: behaving(1, pulltest.Behaviour{Fault: pulltest.Short, After: 50}), class: damage},
		{name: "layer refused", bad: good, behave: behaving(1, pulltest.Behaviour{Status: http.StatusForbidden}), class: errdefs.IsPermissionDenied},
		{name: "layer fails", bad: good, behave: behaving(1, pulltest.Behaviour{Status: http.StatusInternalServerError}), class: errdefs.IsUnavailable, resumable: true},
		{name: "layer stalls", bad: good, behave: behaving(1, pulltest.Behaviour{Fault: pulltest.Stall}), class: errdefs.IsUnavailable, resumable: true},
		{name: "config is not JSON", bad: pulltest.Must(pulltest.ConfigNotJSON())(t), class: errdefs.IsInvalidArgument},
	}
	return append(all, brokenImages(t)...)
}

// brokenImages are whole to the registry and no images all the same.
func brokenImages(t *testing.T) []failure {
	t.Helper()
	fewer := small(t, "fewer", pulltest.Gzip, pulltest.Spec{EditConfig: func(c *ocispec.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:2] }})
	kind := small(t, "kind", pulltest.Gzip, pulltest.Spec{EditConfig: func(c *ocispec.Image) { c.RootFS.Type = "squashed" }})
	archive := pulltest.Must(pulltest.Tar(pulltest.Regular("file", strings.Repeat("content ", 1000))))(t)
	packed := pulltest.Must(pulltest.Gzip.Compress(archive))(t)
	layer := func(blob []byte) *pulltest.Image {
		l := pulltest.Layer{Blob: pulltest.NewBlob(blob), DiffID: digest.FromBytes(archive), Compression: pulltest.Gzip}
		first := pulltest.Must(pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc")))(t)
		return pulltest.Must(pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{first, l}}))(t)
	}
	flipped := slices.Clone(packed)
	flipped[len(flipped)-6] ^= 1 // of the checksum
	return []failure{
		{name: "fewer diff IDs than layers", bad: fewer, class: errdefs.IsDataLoss},
		{name: "unknown kind of rootfs", bad: kind, class: errdefs.IsInvalidArgument},
		{name: "truncated gzip", bad: layer(packed[:len(packed)-20]), class: damage},
		{name: "gzip without its end", bad: layer(packed[:len(packed)-4]), class: damage},
		{name: "gzip with a wrong checksum", bad: layer(flipped), class: damage},
		{name: "no archive", bad: layer([]byte(strings.Repeat("no archive at all ", 100))), class: damage},
	}
}

// onBlob behaves as told when the blob is asked for.
func onBlob(dgst digest.Digest, b pulltest.Behaviour) pulltest.Behave {
	return func(r *http.Request) pulltest.Behaviour {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+dgst.String()) {
			return b
		}
		return pulltest.Behaviour{}
	}
}

// TestNoFalseSuccess lets every failure happen to an empty store and to one
// that has another image under the name, and mends the registry after each.
func TestNoFalseSuccess(t *testing.T) {
	for _, f := range failures(t) {
		t.Run(f.name, func(t *testing.T) {
			each(t, twoPlaces(), func(t *testing.T, s *site) {
				s.options.StallTimeout = 300 * time.Millisecond
				f.test(t, s)
			})
		})
	}
}

func (f failure) test(t *testing.T, s *site) {
	reg := pulltest.StartRegistry(t, pulltest.RegistryOptions{})
	ref := pulltest.Push(t, reg, "team/app:1", f.bad)
	reg.SetBehave(f.behave)
	f.fails(s, ref)
	if got := s.image(ref); got != nil {
		t.Errorf("got record %+v, want none", got)
	}
	if !f.resumable {
		s.empty()
	}

	reg.SetBehave(nil)
	old := small(t, "old", pulltest.Gzip, pulltest.Spec{})
	pulltest.Push(t, reg, "team/app:1", old)
	s.mustPull(ref)
	s.noLitter()
	pulltest.Push(t, reg, "team/app:1", f.bad)
	reg.SetBehave(f.behave)
	f.fails(s, ref)
	if got := s.image(ref); got == nil || got.Target.Digest != old.Desc.Digest {
		t.Errorf("got record %+v, want that of before, %s", got, old.Desc.Digest)
	}

	reg.SetBehave(nil)
	good := f.mended(t)
	pulltest.Push(t, reg, "team/app:1", good)
	if result := s.mustPull(ref); result.Previous != old.Desc.Digest || result.Target.Digest != good.Desc.Digest {
		t.Errorf("got %s after %s, want %s after %s", result.Target.Digest, result.Previous, good.Desc.Digest, old.Desc.Digest)
	}
	s.noLitter()
	s.collect()
	s.wantChains([]*pulltest.Image{good})
}

// mended is what the registry serves in the end.
func (f failure) mended(t *testing.T) *pulltest.Image {
	switch {
	case f.good != nil:
		return f.good
	case f.behave != nil:
		return f.bad
	}
	return small(t, "mended", pulltest.Gzip, pulltest.Spec{})
}

// fails wants a pull to fail in its class and to leave nothing of its own.
func (f failure) fails(s *site, ref string) {
	s.t.Helper()
	result, err := s.pull(ref)
	if err == nil {
		s.t.Fatalf("got %+v, want an error", result)
	}
	if !f.class(err) {
		s.t.Errorf("got %v, want another class", err)
	}
	s.noActive()
	if held := s.leases(); !f.resumable && len(held) > 0 || len(held) > 1 {
		s.t.Errorf("got leases %+v, want none, or one of a failure that can be resumed", held)
	}
}

// TestCorruptOnce heals in one call: the layer is fetched twice, and nothing
// else is.
func TestCorruptOnce(t *testing.T) {
	img := small(t, "once", pulltest.Gzip, pulltest.Spec{})
	each(t, places(), func(t *testing.T, s *site) {
		for i, l := range img.Layers {
			reg := pulltest.StartRegistry(t, pulltest.RegistryOptions{})
			ref := pulltest.Push(t, reg, "team/app:1", img)
			var asked atomic.Int32
			reg.SetBehave(func(r *http.Request) pulltest.Behaviour {
				if strings.HasSuffix(r.URL.Path, l.Digest.String()) && asked.Add(1) == 1 {
					return pulltest.Behaviour{Fault: pulltest.Corrupt, After: l.Size / 2}
				}
				return pulltest.Behaviour{}
			})
			s.mustPull(ref)
			s.noLitter()
			if got, want := reg.BlobBytes(), total(img)+l.Size; got != want {
				t.Errorf("layer %d corrupt once: got %d bytes served, want %d, that layer twice", i, got, want)
			}
			s.wantChains([]*pulltest.Image{img})
			if err := s.store().Images.Delete(s.ctx(), ref); err != nil {
				t.Fatal(err)
			}
			s.empty()
		}
	})
}

// total is the size of all blobs of an image.
func total(img *pulltest.Image) int64 {
	var n int64
	for _, b := range img.Blobs() {
		n += b.Size
	}
	return n
}

// TestEndlessBody reads no more of a body than belongs to the blob, which is
// there and right.
func TestEndlessBody(t *testing.T) {
	img := small(t, "endless", pulltest.Gzip, pulltest.Spec{})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := pulltest.StartRegistry(t, pulltest.RegistryOptions{})
		ref := pulltest.Push(t, reg, "team/app:1", img)
		reg.SetBehave(onBlob(img.Layers[1].Digest, pulltest.Behaviour{Fault: pulltest.Endless}))
		s.mustPull(ref)
		s.noLitter()
		s.wantChains([]*pulltest.Image{img})
		const buffers = 8 << 20 // of both sides and the kernel
		if got := reg.BlobBytes(); got > total(img)+buffers {
			t.Errorf("got %d bytes sent, want not many more than %d", got, total(img))
		}
	})
}

// fullImages do not fit: one because of its files, one because of its blob.
func fullImages(t *testing.T, size int) map[string]*pulltest.Image {
	t.Helper()
	return map[string]*pulltest.Image{
		"files": layered(t, []pulltest.File{pulltest.Regular("first", "fits")}, []pulltest.File{pulltest.Regular("zeros", string(make([]byte, size)))}),
		"blob":  noisyImage(t, size),
	}
}

// noisyImage has a layer of a few files below one of size bytes that do not
// compress.
func noisyImage(t testing.TB, size int) *pulltest.Image {
	t.Helper()
	noise := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	spec := pulltest.Spec{Layers: []pulltest.Layer{
		pulltest.Must(pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"), pulltest.Regular("etc/first", "fits")))(t),
		pulltest.Must(pulltest.NewLayer(pulltest.Uncompressed, pulltest.Regular("noise", string(noise))))(t),
	}}
	return pulltest.Must(pulltest.NewImage(spec))(t)
}

// TestFullFileSystem wants the space back, the image from before, and a pull
// that succeeds once there is room.
func TestFullFileSystem(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	const capacity = 10 << 20
	images := fullImages(t, 2*capacity)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		root := mountTmpfs(t, "size=10m")
		reg := pulltest.StartRegistry(t, pulltest.RegistryOptions{})
		s.moveTo(root)
		before := pulltest.Push(t, reg, "team/before:1", small(t, "before", pulltest.Gzip, pulltest.Spec{}))
		s.mustPull(before)
		for name, img := range images {
			ref := pulltest.Push(t, reg, "team/"+name+":1", img)
			_, err := s.pull(ref)
			if err == nil || s.image(ref) != nil {
				t.Fatalf("%s: got %v and record %v, want an error and none", name, err, s.image(ref))
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s: got %v, want no space left on device", name, err)
			}
			s.noLitter()
			s.collect()
			if free := freeSpace(t, root); free < capacity/2 {
				t.Errorf("%s: got %d bytes free after the pull, want at least %d", name, free, capacity/2)
			}
		}
		if err := syscall.Mount("tmpfs", root, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
			t.Fatal(err)
		}
		for name := range images {
			s.mustPull(reg.Ref("team/" + name + ":1"))
		}
		s.usable(t, before)
		s.usable(t, reg.Ref("team/blob:1"))
	})
}

// moveTo gives the site another root.
func (s *site) moveTo(root string) {
	s.t.Helper()
	s.close()
	s.root = root
	if s.daemon != nil {
		s.daemon = pulltest.StartDaemon(s.t, pulltest.DaemonOptions{Version: s.version, Root: root})
	}
}

// mountTmpfs mounts a file system of its own until the test ends.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := syscall.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mountAt(t, dir, options)
	return dir
}

func freeSpace(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}
