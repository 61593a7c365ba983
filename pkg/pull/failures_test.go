package pull_test

import (
	"context"
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

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

// damage reports a class of failure that blames the image.
func damage(err error) bool { return errdefs.IsDataLoss(err) || errdefs.IsInvalidArgument(err) }

// onBlob behaves as told when the blob is asked for.
func onBlob(dgst digest.Digest, b testregistry.Behaviour) testregistry.Behave {
	return func(r *http.Request) testregistry.Behaviour {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+dgst.String()) {
			return b
		}
		return testregistry.Behaviour{}
	}
}

// TestCorruptOnce heals in one call: the layer is fetched twice, and nothing
// else is.
func TestCorruptOnce(t *testing.T) {
	img := small(t, "once", pulltest.Gzip, pulltest.Spec{})
	each(t, places(), func(t *testing.T, s *site) {
		for i, l := range img.Layers {
			reg := testregistry.Start(t, testregistry.Options{})
			ref := testregistry.Push(t, reg, "team/app:1", img)
			var asked atomic.Int32
			reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
				if strings.HasSuffix(r.URL.Path, l.Digest.String()) && asked.Add(1) == 1 {
					return testregistry.Behaviour{Fault: testregistry.Corrupt, After: l.Size / 2}
				}
				return testregistry.Behaviour{}
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
		pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"), pulltest.Regular("etc/first", "fits")),
		pulltest.NewLayer(pulltest.Uncompressed, pulltest.Regular("noise", string(noise))),
	}}
	return pulltest.NewImage(spec)
}

// TestFullFileSystem wants the space back, the image from before, and a pull
// that succeeds once there is room.
func TestFullFileSystem(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	const capacity = 10 << 20
	images := fullImages(t, 2*capacity)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		root := mountTmpfs(t, "size=10m")
		reg := testregistry.Start(t, testregistry.Options{})
		s.moveTo(root)
		before := testregistry.Push(t, reg, "team/before:1", small(t, "before", pulltest.Gzip, pulltest.Spec{}))
		s.mustPull(before)
		for name, img := range images {
			ref := testregistry.Push(t, reg, "team/"+name+":1", img)
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
		s.daemon = testdaemon.Start(s.t, testdaemon.Options{Version: s.version, Root: root})
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

// settledSpace is freeSpace once it is at least want. A process that a test
// beside this one is about to start has the open files of this one for a moment, and a file
// that was removed takes its space until it has let go.
func settledSpace(t *testing.T, dir string, want int64) int64 {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if got := freeSpace(t, dir); got >= want || time.Now().After(deadline) {
			return got
		}
	}
}

// TestLostBlob fetches a layer again whose snapshot is there and whose blob is
// not, as after a failure whose blobs were collected.
func TestLostBlob(t *testing.T) {
	img := small(t, "lost", pulltest.Gzip, pulltest.Spec{})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.mustPull(ref)
		for _, lost := range img.Layers[:2] {
			if err := s.store().Content.Delete(s.ctx(), lost.Digest); err != nil {
				t.Fatal(err)
			}
		}
		s.mustPull(ref)
		s.wantDiffIDs(img)
		s.noLitter()
		s.usable(t, ref)
	})
}

// wantDiffIDs wants all layers of img as blobs that know what they become.
func (s *site) wantDiffIDs(img *pulltest.Image) {
	s.t.Helper()
	for _, l := range img.Layers {
		info, err := s.store().Content.Info(s.ctx(), l.Digest)
		if err != nil {
			s.t.Errorf("got %v of a layer, want all blobs", err)
		} else if got := info.Labels[labels.LabelUncompressed]; got != l.DiffID.String() {
			s.t.Errorf("got diff ID %q of a layer, want %s", got, l.DiffID)
		}
	}
}

// TestSnapshotBeforeBlob pulls what another pull left that was killed between
// the commit of a snapshot and that of its blob, or the blob's label.
func TestSnapshotBeforeBlob(t *testing.T) {
	img := small(t, "before", pulltest.Gzip, pulltest.Spec{})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		s.mustPull(testregistry.Push(t, reg, "team/app:1", img))
		unlabelled := content.Info{Digest: img.Layers[0].Digest, Labels: map[string]string{labels.LabelUncompressed: ""}}
		if _, err := s.store().Content.Update(s.ctx(), unlabelled, "labels."+labels.LabelUncompressed); err != nil {
			t.Fatal(err)
		}
		again := testregistry.Push(t, reg, "team/app:2", img)
		s.mustPull(again)
		s.wantDiffIDs(img)
		s.noLitter()
		s.usable(t, again)
	})
}

// TestBlobOfAnotherSnapshot refuses an image whose layer is not what its config
// says, also where there is a snapshot of what it says.
func TestBlobOfAnotherSnapshot(t *testing.T) {
	img := small(t, "honest", pulltest.Gzip, pulltest.Spec{})
	other := pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("other", "content"))
	layers := slices.Clone(img.Layers)
	layers[0].Blob = other.Blob
	lie := pulltest.NewImage(pulltest.Spec{Layers: layers})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		s.mustPull(testregistry.Push(t, reg, "team/app:1", img))
		ref := testregistry.Push(t, reg, "team/app:2", lie)
		if _, err := s.pull(ref); !errdefs.IsDataLoss(err) {
			t.Errorf("got %v, want an error about the diff ID", err)
		}
		if got := s.image(ref); got != nil {
			t.Errorf("got record %+v, want none", got)
		}
		s.noLitter()
	})
}

// slowPrepare is a snapshotter whose Prepare takes its time and does not
// return early if the call was cancelled meanwhile, like that of a daemon.
type slowPrepare struct {
	snapshots.Snapshotter
	begun func()
}

func (s slowPrepare) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	s.begun()
	time.Sleep(50 * time.Millisecond)
	mounts, err := s.Snapshotter.Prepare(context.WithoutCancel(ctx), key, parent, opts...)
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return mounts, err
}

// TestCancelledPrepare leaves no snapshot that no record names.
func TestCancelledPrepare(t *testing.T) {
	img := small(t, "prepare", pulltest.Gzip, pulltest.Spec{})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		ctx, cancel := context.WithCancelCause(t.Context())
		real := s.store().Snapshotter
		s.store().Snapshotter = slowPrepare{real, func() { cancel(errStop) }}
		if _, err := s.puller(nil).Pull(ctx, s.request(ref)); !errors.Is(err, errStop) {
			t.Errorf("got %v, want the cause of the cancellation", err)
		}
		s.store().Snapshotter = real
		s.noLitter()
	})
}
