package unpack_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// bench is an embedded root, a registry, and an Unpacker between them.
type bench struct {
	t       *testing.T
	dir     string // the root's folder
	store   *store.Store
	ctx     context.Context // with a lease, so that nothing is collected
	reg     *testregistry.Registry
	options unpack.Options
	mu      sync.Mutex
	events  []progress.Event
	onEvent func(progress.Event) // called before the event is kept; may be nil
}

// each runs the test with a snapshotter that can rebase and with one that
// cannot.
func each(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) {
			t.Parallel()
			test(t, newBench(t, snapshotter))
		})
	}
}

func newBench(t *testing.T, snapshotter string) *bench {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	dir := t.TempDir()
	s, err := root.Open(t.Context(), store.Options{Root: dir, Snapshotter: snapshotter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return newBenchOn(t, s, dir)
}

// newBenchOn is a bench with another store.
func newBenchOn(t *testing.T, s *store.Store, dir string) *bench {
	t.Helper()
	ctx, _, err := s.Lease(s.Context(t.Context()), "test")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: dir, store: s, ctx: ctx, reg: testregistry.Start(t, testregistry.Options{})}
	client, err := registry.New(registry.Options{Hosts: hosts.Options{PlainHTTP: true}, StallTimeout: time.Minute, Retry: registry.Retry{Count: 2, Delay: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	b.options = unpack.Options{
		Store: s, Fetcher: fetch.New(client, s.Content, b.emit), Progress: b.emit,
		Scheduler: unpack.NewScheduler(s, 4, 2),
	}
	return b
}

func (b *bench) emit(e progress.Event) {
	if b.onEvent != nil {
		b.onEvent(e)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// of returns the digests of the events for which is holds, in their order.
func (b *bench) of(is func(progress.Event) bool) []digest.Digest {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []digest.Digest
	for _, e := range b.events {
		if is(e) {
			all = append(all, e.Digest)
		}
	}
	return all
}

// lose removes a blob, its record and its file.
func (b *bench) lose(dgst digest.Digest) {
	b.t.Helper()
	if err := b.store.Content.Delete(b.ctx, dgst); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.dir, "io.containerd.content.v1.content/blobs", dgst.Algorithm().String(), dgst.Encoded())); err != nil {
		b.t.Fatal(err)
	}
}

func isCommit(e progress.Event) bool {
	return e.Kind == progress.PhaseDone && e.Phase == progress.Commit
}

// push makes an image of layers and serves it.
func (b *bench) push(layers ...pulltest.Layer) unpack.Image {
	b.t.Helper()
	img := pulltest.NewImage(pulltest.Spec{Layers: layers})
	ref, err := source.ParseRef(testregistry.Push(b.t, b.reg, "team/app:"+img.Desc.Digest.Encoded()[:12], img))
	if err != nil {
		b.t.Fatal(err)
	}
	image := unpack.Image{Source: fetch.From(ref), DiffIDs: img.DiffIDs()}
	for _, l := range layers {
		image.Layers = append(image.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: l.Digest, Size: l.Size})
	}
	return image
}

// layer packs files with gzip.
func layer(t *testing.T, files ...pulltest.File) pulltest.Layer {
	t.Helper()
	l := pulltest.NewLayer(pulltest.Gzip, files...)
	return l
}

// three layers, which use what is below them.
func three(t *testing.T) []pulltest.Layer {
	t.Helper()
	return []pulltest.Layer{
		layer(t, pulltest.File{Name: "etc/", Mode: 0o700, UID: 7}, pulltest.Regular("etc/old", "old"), pulltest.Regular("etc/kept", "kept")),
		layer(t, pulltest.Whiteout("etc/old"), pulltest.Regular("etc/new", "new")),
		layer(t, pulltest.Regular("etc/new", "newer"), pulltest.Directory("bin"), pulltest.Executable("bin/run", "#!")),
	}
}

// unpack unpacks img with a new Unpacker.
func (b *bench) unpack(img unpack.Image) (unpack.Result, error) {
	return unpack.New(b.options).Unpack(b.ctx, img)
}

// mustUnpack ends the test on an error.
func (b *bench) mustUnpack(img unpack.Image) unpack.Result {
	b.t.Helper()
	result, err := b.unpack(img)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// snapshots returns the kinds of all snapshots by name.
func (b *bench) snapshots() map[string]snapshots.Kind {
	b.t.Helper()
	all := map[string]snapshots.Kind{}
	err := b.store.Snapshotter.Walk(b.ctx, func(_ context.Context, info snapshots.Info) error {
		all[info.Name] = info.Kind
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// wantSnapshots fails the test unless these are committed and there are no
// others.
func (b *bench) wantSnapshots(want ...digest.Digest) {
	b.t.Helper()
	got := b.snapshots()
	for _, id := range want {
		if got[id.String()] != snapshots.KindCommitted {
			b.t.Errorf("got no committed snapshot %s in %v", id, got)
		}
	}
	if len(got) != len(want) {
		b.t.Errorf("got snapshots %v, want %v", got, want)
	}
}

// files lists what a snapshot shows.
func (b *bench) files(name digest.Digest) []tree.Entry {
	b.t.Helper()
	mounts, err := b.store.Snapshotter.View(b.ctx, "look", name.String())
	if err != nil {
		b.t.Fatal(err)
	}
	entries, err := tree.ReadMounted(b.ctx, mounts)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.store.Snapshotter.Remove(b.ctx, "look"); err != nil {
		b.t.Fatal(err)
	}
	return entries
}

// isFor reports whether a request is for the blob dgst.
func isFor(r *http.Request, dgst digest.Digest) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+dgst.String())
}
