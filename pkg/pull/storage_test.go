package pull_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// The parts of a root that may lie on a file system of their own.
const (
	wholeRoot    = "."
	contentPart  = "io.containerd.content.v1.content"
	snapshotPart = "io.containerd.snapshotter.v1.overlayfs"
	metadataPart = "io.containerd.metadata.v1.bolt"
)

// diskSite makes a site, one part of which is a small tmpfs, whose folder is
// returned.
func diskSite(t *testing.T, p place, part, options string) (*site, string) {
	t.Helper()
	return siteOn(t, p, part, func(dir string) { mountAt(t, dir, options) })
}

// siteOn makes a site, one part of which is what mount mounts.
func siteOn(t *testing.T, p place, part string, mount func(dir string)) (*site, string) {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	s := bareSite(t, p)
	s.root = filepath.Join(t.TempDir(), "root")
	dir := filepath.Join(s.root, part)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(dir)
	t.Cleanup(s.close)
	if p.version != "" {
		s.daemon = testdaemon.Start(t, testdaemon.Options{Version: p.version, Root: s.root})
	}
	return s, dir
}

func mountAt(t *testing.T, dir, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,"+options); err != nil {
		t.Fatal(err)
	}
	unmountInTheEnd(t, dir)
}

func unmountInTheEnd(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// mountExt4 mounts a new ext4 with a journal and small blocks, in a file behind a
// loop device, and makes it as full as it takes for size bytes to be free.
func mountExt4(t *testing.T, dir string, size int64) {
	t.Helper()
	pulltest.Need(t, pulltest.Program("mkfs.ext4"))
	disk := filepath.Join(t.TempDir(), "disk")
	for _, command := range [][]string{
		{"truncate", "-s", "16M", disk},
		{"mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-N", "600", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk},
		{"mount", "-o", "loop", disk, dir},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	unmountInTheEnd(t, dir)
	(&ballast{t: t, dir: dir, path: filepath.Join(dir, "lost+found", "reserve")}).leaveBytes(size)
}

// ballast takes all of a file system but some bytes or inodes.
type ballast struct {
	t    *testing.T
	dir  string
	path string
}

func newBallast(t *testing.T, dir string) *ballast {
	return &ballast{t: t, dir: dir, path: filepath.Join(dir, "ballast")}
}

func (b *ballast) leaveBytes(n int64) {
	f, err := os.Create(b.path)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer f.Close()
	for range 100 {
		take := freeSpace(b.t, b.dir) - n
		if take <= 0 {
			return
		}
		err := unix.Fallocate(int(f.Fd()), 0, 0, take)
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.ENOSPC) { // the pull takes some meanwhile
			b.t.Error(err)
			return
		}
	}
}

func (b *ballast) leaveInodes(n int64) {
	if err := os.Mkdir(b.path, 0o700); err != nil {
		if !errors.Is(err, syscall.ENOSPC) {
			b.t.Error(err)
		}
		return
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(b.dir, &st); err != nil {
		b.t.Error(err)
	}
	for i := int64(st.Ffree); i > n; i-- {
		err := os.WriteFile(filepath.Join(b.path, fmt.Sprint(i)), nil, 0o600)
		if errors.Is(err, syscall.ENOSPC) { // the pull takes some meanwhile
			return
		}
		if err != nil {
			b.t.Error(err)
			return
		}
	}
}

func (b *ballast) drop() {
	if err := os.RemoveAll(b.path); err != nil {
		b.t.Error(err)
	}
}

// onFirstLayer calls fn when the first layer is asked for.
func onFirstLayer(img *pulltest.Image, fn func()) testregistry.Behave {
	var layers []digest.Digest
	for _, l := range img.Layers {
		layers = append(layers, l.Digest)
	}
	return onFirst(fn, layers...)
}

// onFirst calls fn when the first of some blobs is asked for.
func onFirst(fn func(), blobs ...digest.Digest) testregistry.Behave {
	var once sync.Once
	return func(r *http.Request) testregistry.Behaviour {
		for _, dgst := range blobs {
			if strings.HasSuffix(r.URL.Path, "/"+dgst.String()) {
				once.Do(fn)
			}
		}
		return testregistry.Behaviour{}
	}
}

// mixedImage takes space in every part: small files, a blob that does not
// compress, files that do, and many files.
func mixedImage(t *testing.T) *pulltest.Image {
	t.Helper()
	noise := make([]byte, 256<<10)
	rand.NewChaCha8([32]byte{7}).Read(noise) // never fails
	many := []pulltest.File{pulltest.Directory("many")}
	for i := range 40 {
		many = append(many, pulltest.Regular(fmt.Sprintf("many/%d", i), "x"))
	}
	return layered(t,
		[]pulltest.File{pulltest.Directory("etc"), pulltest.Regular("etc/first", "fits")},
		[]pulltest.File{pulltest.Regular("noise", string(noise))},
		[]pulltest.File{pulltest.Regular("zeros", string(make([]byte, 512<<10)))},
		many)
}

// full is a sweep over how full a part of the root becomes while a pull is
// under way.
type full struct {
	name  string
	part  string
	steps []int64
	leave func(*ballast, int64)
	early bool // before the plan is made, since an ingest has its inodes before the layer comes
	ext4  bool // in place of tmpfs
}

func sweeps() []full {
	var bytes, inodes []int64
	for i := range int64(20) {
		bytes = append(bytes, i*i*4<<10) // 0 to 1444 kB, closer at the start
		inodes = append(inodes, i*4)
	}
	return []full{
		{"content", contentPart, bytes, (*ballast).leaveBytes, false, false},
		{"snapshots", snapshotPart, bytes, (*ballast).leaveBytes, false, false},
		{"metadata", metadataPart, bytes, (*ballast).leaveBytes, false, false},
		{"everything", wholeRoot, bytes, (*ballast).leaveBytes, false, false},
		{"inodes for content", contentPart, inodes, (*ballast).leaveInodes, true, false},
		{"inodes for snapshots", snapshotPart, inodes, (*ballast).leaveInodes, true, false},
		{"ext4 for content", contentPart, bytes, (*ballast).leaveBytes, false, true},
		{"ext4 for snapshots", snapshotPart, bytes, (*ballast).leaveBytes, false, true},
		{"ext4 for everything", wholeRoot, bytes, (*ballast).leaveBytes, false, true},
	}
}

// TestFillsUp fills a file system up to 20 sizes in the middle of a pull. It
// fails for that reason and leaves nothing, or succeeds wholly; what was there
// before stays whole, and the next pull succeeds.
func TestFillsUp(t *testing.T) {
	img, old := mixedImage(t), small(t, "before", pulltest.Gzip, pulltest.Spec{})
	for _, p := range places() {
		for _, f := range sweeps() {
			if p.snapshotter != "overlayfs" {
				continue
			}
			if p.version != "" && p.version != testdaemon.Versions()[0] { // the boundary is the same, and these take as long
				f.steps = []int64{f.steps[0], f.steps[4]}
			}
			t.Run(p.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				f.test(t, p, img, old)
			})
		}
	}
}

func (f full) test(t *testing.T, p place, img, old *pulltest.Image) {
	s, dir := siteOn(t, p, f.part, func(dir string) {
		if f.ext4 {
			mountExt4(t, dir, 4<<20)
			return
		}
		mountAt(t, dir, "size=4m,nr_inodes=300")
	})
	reg := testregistry.Start(t, testregistry.Options{})
	before := testregistry.Push(t, reg, "team/before:1", old)
	ref := testregistry.Push(t, reg, "team/mixed:1", img)
	s.mustPull(before)
	s.mustPull(ref) // the databases have their size now
	s.forget(ref)
	free := freeSpace(t, dir)
	failed := 0
	for _, n := range f.steps {
		b := newBallast(t, dir)
		reg.SetBehave(onFirstLayer(img, func() { f.leave(b, n) }))
		if f.early {
			reg.SetBehave(onFirst(func() { f.leave(b, n) }, img.Config.Digest))
		}
		_, err := s.pull(ref)
		if err != nil {
			failed++
		}
		f.outcome(s, n, ref, err)
		b.drop()
		reg.SetBehave(nil)
		if _, err := s.pull(before, func(r *pull.Request) { r.Policy = pull.PolicyNever }); err != nil {
			t.Errorf("leaving %d: the image from before: %v", n, err)
		}
		s.mustPull(ref)
		s.collect() // a daemon does in its own time what there was no room for
		s.noLitter()
		s.wantChains([]*pulltest.Image{img, old})
		s.forget(ref)
		if got := settledSpace(t, dir, free-256<<10); got < free-256<<10 {
			t.Errorf("leaving %d: got %d bytes free in the end, want %d", n, got, free)
		}
		if t.Failed() {
			return
		}
	}
	if failed == 0 && f.part != metadataPart {
		t.Error("got success at every size, want failures too")
	}
}

// outcome wants a failure of the storage that left nothing, or a success.
func (f full) outcome(s *site, n int64, ref string, err error) {
	s.t.Helper()
	if err == nil {
		if s.image(ref) == nil {
			s.t.Errorf("leaving %d: got success without a record", n)
		}
		s.noLitter()
		return
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.t.Errorf("leaving %d: got %v, want no space left on device", n, err)
	}
	if got := s.image(ref); got != nil {
		s.t.Errorf("leaving %d: got record %+v, want none", n, got)
	}
	if f.part != metadataPart { // where nothing can be written nothing can be taken back
		s.noLitter()
	}
}

// forget removes an image and what only it needed.
func (s *site) forget(ref string) {
	s.t.Helper()
	if err := s.store().Images.Delete(s.ctx(), ref); err != nil {
		s.t.Fatal(err)
	}
	s.collect()
}

// TestReadOnlyFileSystem pulls into snapshots that can no longer be written
// when the layer comes, and into content that cannot be written at all.
func TestReadOnlyFileSystem(t *testing.T) {
	img := layered(t, []pulltest.File{pulltest.Directory("etc"), pulltest.Regular("etc/first", "fits")})
	for part, underWay := range map[string]bool{snapshotPart + "/snapshots": true, contentPart: false} {
		t.Run(part, func(t *testing.T) {
			for _, p := range []place{places()[0], places()[2], places()[3], places()[4]} {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					s, dir := diskSite(t, p, part, "size=4m")
					reg := testregistry.Start(t, testregistry.Options{})
					ref := testregistry.Push(t, reg, "team/app:1", img)
					if underWay {
						reg.SetBehave(onFirstLayer(img, func() { remount(t, dir, syscall.MS_RDONLY) }))
					} else {
						remount(t, dir, syscall.MS_RDONLY)
					}
					if _, err := s.pull(ref); !errors.Is(err, syscall.EROFS) {
						t.Errorf("got %v, want read-only file system", err)
					}
					if got := s.image(ref); got != nil {
						t.Errorf("got record %+v, want none", got)
					}
					remount(t, dir, 0)
					reg.SetBehave(nil)
					s.mustPull(ref)
					s.noLitter()
				})
			}
		})
	}
}

func remount(t *testing.T, dir string, flags uintptr) {
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
		t.Errorf("remounting: %v", err)
	}
}

// bomb is an image whose layer of 2 MB becomes 512 MB: a file of zeros and one
// that does not compress.
func bomb(t *testing.T) *pulltest.Image { return bombOf(t, "zeros", 32) }

// bombOf has the zeros under a name, as many times 16 MiB.
func bombOf(t *testing.T, name string, chunks int64) *pulltest.Image {
	t.Helper()
	const chunk = 16 << 20
	noise := make([]byte, 1536<<10)
	rand.NewChaCha8([32]byte{4}).Read(noise) // never fails
	var head, tail bytes.Buffer
	w := tar.NewWriter(&head)
	zeros := make([]byte, chunk)
	header := func(name string, size int64) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
			t.Fatal(err)
		}
	}
	header("noise", int64(len(noise)))
	w.Write(noise) // into memory
	header(name, chunk*chunks)
	tail.Write(make([]byte, 1024)) // the end of an archive
	sum := digest.Canonical.Digester()
	sum.Hash().Write(head.Bytes())
	blob := pulltest.Gzip.Compress(head.Bytes())
	packed := pulltest.Gzip.Compress(zeros)
	for range chunks {
		sum.Hash().Write(zeros)
		blob = append(blob, packed...) // one member after the other is one stream
	}
	sum.Hash().Write(tail.Bytes())
	blob = append(blob, pulltest.Gzip.Compress(tail.Bytes())...)
	first := pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"))
	layer := pulltest.Layer{Blob: pulltest.NewBlob(blob), DiffID: sum.Digest(), Compression: pulltest.Gzip}
	return pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{first, layer}})
}

// TestBomb unpacks a layer that is larger than the file system, and one that is
// larger than its bound, streamed and out of the store. Either way the space
// is given back.
func TestBomb(t *testing.T) {
	img := bomb(t)
	all := append([]place{places()[1]}, twoPlaces()...)
	each(t, all, func(t *testing.T, plain *site) {
		s, dir := diskSite(t, plain.place, wholeRoot, "size=64m")
		reg := testregistry.Start(t, testregistry.Options{})
		ref, stored := testregistry.Push(t, reg, "team/bomb:1", img), testregistry.Push(t, reg, "team/stored:1", img)
		before := testregistry.Push(t, reg, "team/before:1", small(t, "before", pulltest.Gzip, pulltest.Spec{}))
		s.mustPull(before)
		free := freeSpace(t, dir)
		fails := func(ref, how string, class func(error) bool) {
			t.Helper()
			_, err := s.pull(ref)
			if err == nil || !class(err) {
				t.Errorf("%s: got %v, want another class", how, err)
			}
			s.noLitter()
			s.collect()
			if got := settledSpace(t, dir, free-256<<10); got < free-256<<10 {
				t.Errorf("%s: got %d bytes free, want %d", how, got, free)
			}
		}
		fails(ref, "on a small file system", func(err error) bool { return errors.Is(err, syscall.ENOSPC) })
		over := func(err error) bool {
			return errdefs.IsInvalidArgument(err) && !errors.Is(err, syscall.ENOSPC) && strings.Contains(err.Error(), "limits.unpacked_bytes")
		}
		s.limits.Layer.Bytes = 16 << 20
		fails(ref, "over the bound", over)
		s.mustPull(stored, func(r *pull.Request) { r.Unpack = pull.UnpackNever })
		free = freeSpace(t, dir)
		fails(ref, "over the bound, out of the store", over)

		// The daemon's applier keeps to no bound, and is not asked to.
		if _, err := s.pull(ref, withEngine(pull.EngineDaemon)); s.daemon != nil && !errdefs.IsFailedPrecondition(err) {
			t.Errorf("engine daemon: got %v, want it refused", err)
		}
		s.noLitter()
		s.mustPull(before)
	})
}

// TestLimitsOfTheCommand sets the bounds of layers in the configuration of the
// command. What is over them ends in class 9, leaves nothing, and heals when the
// bound is raised.
func TestLimitsOfTheCommand(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	program, places := build(t), twoPlaces()
	for _, c := range []struct {
		limit, raised string
		img           *pulltest.Image
		places        []place
	}{
		{`unpacked_bytes = "1KiB"`, `unpacked_bytes = "1MiB"`, small(t, "bounded", pulltest.Gzip, pulltest.Spec{}), places},
		// The name makes it a whiteout, so that the zeros are counted and written
		// nowhere.
		{"ratio = 100", "ratio = 0", bombOf(t, ".wh.zeros", 66), places[:1]},
	} {
		key, _, _ := strings.Cut(c.limit, " ")
		t.Run(key, func(t *testing.T) {
			each(t, c.places, func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				ref := testregistry.Push(t, reg, "team/app:1", c.img)
				config := func(limit string) string {
					path := filepath.Join(t.TempDir(), "config.toml")
					if err := os.WriteFile(path, []byte("[limits]\n"+limit+"\n"), 0o600); err != nil {
						t.Fatal(err)
					}
					return path
				}
				cmd := s.command(program, ref, "--config", config(c.limit))
				if code := cmd.code(t); code != 9 || !strings.Contains(cmd.stderr.String(), "limits."+key+" allows") {
					t.Errorf("got exit code %d, want 9 and the name of the setting: %s", code, &cmd.stderr)
				}
				if got := s.image(ref); got != nil {
					t.Errorf("got record %+v, want none", got)
				}
				s.noLitter()
				s.empty()
				cmd = s.command(program, ref, "--config", config(c.raised))
				if code := cmd.code(t); code != 0 {
					t.Errorf("got exit code %d after the bound was raised, want 0: %s", code, &cmd.stderr)
				}
				s.noLitter()
				s.wantChains([]*pulltest.Image{c.img})
			})
		})
	}
}

// TestPreflight asks for no layer when the plan cannot fit, and for all when
// it can.
func TestPreflight(t *testing.T) {
	const size = 2 << 20
	noise := make([]byte, size)
	rand.NewChaCha8([32]byte{9}).Read(noise) // never fails
	img := layered(t, []pulltest.File{pulltest.Regular("noise", string(noise))})
	for _, p := range []place{places()[0], places()[1], places()[2], places()[3], places()[4]} {
		for name, c := range map[string]struct {
			part, options string
			bytes         int64 // of need, less than the size of the manifest and the config
		}{
			"content":    {contentPart, "size=1500k", size},
			"snapshots":  {"io.containerd.snapshotter.v1." + p.snapshotter, "size=1500k", size},
			"everything": {wholeRoot, "size=3500k", 2 * size},
			"inodes":     {contentPart, "size=8m,nr_inodes=4", 0},
		} {
			if p.name == "containerd 1.6" && p.snapshotter == "native" {
				continue
			}
			t.Run(p.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s, dir := diskSite(t, p, c.part, c.options)
				reg := testregistry.Start(t, testregistry.Options{})
				ref := testregistry.Push(t, reg, "team/app:1", img)
				asked := false
				reg.SetBehave(onFirstLayer(img, func() { asked = true }))
				_, err := s.pull(ref)
				if !errors.Is(err, syscall.ENOSPC) || asked {
					t.Fatalf("got %v, asked for the layer: %v, want no space before that", err, asked)
				}
				text := err.Error()
				if !strings.Contains(text, s.root) || c.bytes > 0 && !strings.Contains(text, fmt.Sprintf("at least %.1f MB", float64(c.bytes)/1e6)) {
					t.Errorf("got %q, want the folder and the need of %d bytes", text, c.bytes)
				}
				s.noLitter()
				if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=8m,nr_inodes=200"); err != nil {
					t.Fatal(err)
				}
				s.mustPull(ref)
				s.noLitter()
			})
		}
	}
}

// TestPreflightCountsWhatIsThere pulls into file systems that have room only for
// what is missing: the layer is there in another namespace, or in part, and
// what is in the way is garbage.
func TestPreflightCountsWhatIsThere(t *testing.T) {
	img := noisyImage(t, 2<<20)
	other := noisyImage(t, 2<<20-1)
	each(t, twoPlaces(), func(t *testing.T, plain *site) {
		s, dir := diskSite(t, plain.place, contentPart, "size=4m")
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		away := testregistry.Push(t, reg, "team/other:1", other)
		fetchOnly := func(r *pull.Request) { r.Unpack = pull.UnpackNever }

		// Garbage: no collection has been since the image was removed.
		s.mustPull(away, fetchOnly)
		if err := s.store().Images.Delete(s.ctx(), away); err != nil {
			t.Fatal(err)
		}
		s.mustPull(ref, fetchOnly)

		// Another namespace has the blob.
		s.store().Namespace = "elsewhere"
		s.mustPull(ref)
		s.noLitter()
		s.forget(ref)
		s.store().Namespace = "default"
		s.forget(ref)

		// An ingest has most of it.
		big := img.Layers[1]
		reg.SetBehave(onBlob(big.Digest, testregistry.Behaviour{Fault: testregistry.Truncate, After: big.Size / 4 * 3}))
		s.options.Retry.Count = -1
		if _, err := s.pull(ref); !errdefs.IsUnavailable(err) {
			t.Fatalf("got %v, want a failure of the network", err)
		}
		b := newBallast(t, dir)
		b.leaveBytes(big.Size / 2)
		reg.SetBehave(nil)
		s.mustPull(ref)
		s.noLitter()
	})
}
