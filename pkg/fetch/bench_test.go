package fetch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// shared is the daemon of all tests: to start one takes longer than most of
// them. Each test has a namespace and bytes of its own, since containerd's
// content store lends the blobs of one namespace to the others.
var shared struct {
	once   sync.Once
	daemon *testdaemon.Daemon
	err    error
	tests  atomic.Int64
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.daemon != nil {
		if err := shared.daemon.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing containerd:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// dial connects to the shared daemon. The test is skipped where none can be
// started, and with -short, since a daemon takes longer than that allows.
func dial(t *testing.T) *store.Store {
	t.Helper()
	if testing.Short() {
		t.Skip("with -short no daemon is started")
	}
	version := testdaemon.Versions()[0]
	pulltest.Need(t, pulltest.Root, pulltest.Tools(version+"/containerd", version+"/ctr"))
	shared.once.Do(func() { shared.daemon, shared.err = testdaemon.New(context.Background(), testdaemon.Options{}) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	s, err := daemon.Dial(t.Context(), store.Options{Address: shared.daemon.Address, Namespace: fmt.Sprintf("test-%d", shared.tests.Add(1))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise returns n bytes that do not repeat, other ones for each n.
func noise(n int) []byte { return noiseOf(uint64(n), 0, n) }

func noiseOf(seed, second uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint64(key[8:], second)
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p) // never fails
	return p
}

// bench is a content store, a registry with one blob, and what fetches it.
type bench struct {
	t       testing.TB
	store   *store.Store
	ctx     context.Context // with a lease, so that nothing is collected
	reg     *testregistry.Registry
	data    []byte
	blob    fetch.Blob
	options registry.Options
	mu      sync.Mutex
	events  []progress.Event
}

// each runs the test on an embedded root, on a daemon, and on a daemon whose
// files this process writes; their writers have little in common.
func each(t *testing.T, size int, test func(t *testing.T, b *bench)) {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		st, err := root.Open(t.Context(), store.Options{Root: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		test(t, newBench(t, size, st))
	})
	t.Run("daemon", func(t *testing.T) {
		t.Parallel()
		test(t, newBench(t, size, dial(t)))
	})
	t.Run("in place", func(t *testing.T) {
		t.Parallel()
		test(t, inPlace(t, size))
	})
}

// inPlace is a daemon that is proven to share its file system.
func inPlace(t *testing.T, size int) *bench {
	t.Helper()
	b := newBench(t, size, dial(t))
	mounts, err := b.store.Snapshotter.Prepare(b.ctx, t.Name(), "")
	if err != nil {
		t.Fatal(err)
	}
	u, why := b.store.Upper(b.ctx, t.Name(), mounts)
	if u == nil {
		t.Fatalf("the file system is not shared: %s", why)
	}
	u.Close()
	return b
}

func newBench(t testing.TB, size int, s *store.Store) *bench {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	ctx, _, err := s.Lease(s.Context(t.Context()), "test")
	if err != nil {
		t.Fatal(err)
	}
	return (&bench{store: s, ctx: ctx}).another(t, size)
}

// another is a bench with the same store, and with a registry and a blob of its own,
// which costs less than a store.
func (b *bench) another(t testing.TB, size int) *bench {
	t.Helper()
	b = &bench{t: t, store: b.store, ctx: b.ctx, data: noiseOf(uint64(size), uint64(shared.tests.Add(1)), size), reg: testregistry.Start(t, testregistry.Options{})}
	blob := pulltest.NewBlob(b.data)
	b.reg.AddBlob(blob)
	b.options = registry.Options{Hosts: hosts.Options{PlainHTTP: true}, StallTimeout: 2 * time.Second, Retry: registry.Retry{Count: 3, Delay: time.Millisecond}}
	ref, err := source.ParseRef(b.reg.Ref("team/app:1"))
	if err != nil {
		t.Fatal(err)
	}
	b.blob = fetch.Blob{
		Ref:  ref,
		Desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: blob.Digest, Size: blob.Size},
		Kind: progress.Layer,
	}
	return b
}

// fetcher returns one that remembers nothing of those before it.
func (b *bench) fetcher() *fetch.Fetcher {
	b.t.Helper()
	return b.fetcherInto(b.store.Content)
}

func (b *bench) fetcherInto(c content.Store) *fetch.Fetcher {
	b.t.Helper()
	return fetch.New(b.source(), c, b.emit)
}

// source returns a client of the registry that remembers nothing of those before
// it.
func (b *bench) source() source.Source {
	b.t.Helper()
	reg, err := registry.New(b.options)
	if err != nil {
		b.t.Fatal(err)
	}
	return reg
}

func (b *bench) emit(e progress.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

func (b *bench) count(kind progress.Kind) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, e := range b.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// ingest opens the ingest of the blob as another client does.
func (b *bench) ingest() content.Writer {
	b.t.Helper()
	w, err := b.store.Content.Writer(b.ctx, content.WithRef(remotes.MakeRefKey(b.ctx, b.blob.Desc)), content.WithDescriptor(b.blob.Desc))
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

// open opens the ingest; it is closed at the end of the test.
func (b *bench) open() *fetch.Ingest {
	b.t.Helper()
	in, err := b.fetcher().Open(b.ctx, b.blob)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := in.Close(); err != nil {
			b.t.Errorf("closing the ingest: %v", err)
		}
	})
	return in
}

// stored fails the test unless the store has the blob.
func (b *bench) stored() {
	b.t.Helper()
	got, err := content.ReadBlob(b.ctx, b.store.Content, b.blob.Desc)
	if err != nil || !bytes.Equal(got, b.data) {
		b.t.Errorf("got %d bytes and %v from the store, want the %d of the blob", len(got), err, len(b.data))
	}
}

// served fails the test unless the registry has sent between least and most bytes.
func (b *bench) served(least, most int) {
	b.t.Helper()
	if got := b.reg.BlobBytes(); got < int64(least) || got > int64(most) {
		b.t.Errorf("got %d bytes served, want %d to %d", got, least, most)
	}
}

// first lets the first n requests be answered with a fault.
func first(n int32, fault testregistry.Behaviour) testregistry.Behave {
	var asked atomic.Int32
	return func(*http.Request) testregistry.Behaviour {
		if asked.Add(1) <= n {
			return fault
		}
		return testregistry.Behaviour{}
	}
}
