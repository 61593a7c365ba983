package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// noise are n bytes that do not repeat.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(p) // never fails
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
// files we write, whose writers have little in common.
func each(t *testing.T, size int, test func(t *testing.T, b *bench)) {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, newBench(t, size, pulltest.Must(store.Open(t.Context(), store.Options{Root: t.TempDir()}))(t)))
	})
	t.Run("daemon", func(t *testing.T) {
		t.Parallel()
		d := testdaemon.Start(t, testdaemon.Options{})
		test(t, newBench(t, size, pulltest.Must(store.Dial(t.Context(), store.Options{Address: d.Address}))(t)))
	})
	t.Run("in place", func(t *testing.T) {
		t.Parallel()
		test(t, inPlace(t, size))
	})
}

// inPlace is a daemon that is proven to share its file system.
func inPlace(t *testing.T, size int) *bench {
	t.Helper()
	d := testdaemon.Start(t, testdaemon.Options{})
	b := newBench(t, size, pulltest.Must(store.Dial(t.Context(), store.Options{Address: d.Address}))(t))
	mounts := pulltest.Must(b.store.Snapshotter.Prepare(b.ctx, "proof", ""))(t)
	if ok, why := b.store.Writable(b.ctx, "proof", mounts); !ok {
		t.Fatalf("the file system is not shared: %s", why)
	}
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
	b := &bench{t: t, store: s, ctx: ctx, data: noise(size), reg: testregistry.Start(t, testregistry.Options{})}
	blob := pulltest.NewBlob(b.data)
	b.reg.AddBlob(blob)
	b.options = registry.Options{PlainHTTP: true, StallTimeout: 2 * time.Second, Retry: registry.Retry{Count: 3, Delay: time.Millisecond}}
	b.blob = fetch.Blob{
		Ref:  pulltest.Must(source.ParseRef(b.reg.Ref("team/app:1")))(t),
		Desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: blob.Digest, Size: blob.Size},
		Kind: progress.Layer,
	}
	return b
}

// fetcher remembers nothing of those before it.
func (b *bench) fetcher() *fetch.Fetcher {
	b.t.Helper()
	return b.fetcherInto(b.store.Content)
}

func (b *bench) fetcherInto(c content.Store) *fetch.Fetcher {
	b.t.Helper()
	return fetch.New(pulltest.Must(registry.New(b.options))(b.t), c, func(e progress.Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, e)
	})
}

// open opens the ingest; it is closed at the end of the test.
func (b *bench) open() *fetch.Ingest {
	b.t.Helper()
	in := pulltest.Must(b.fetcher().Open(b.ctx, b.blob))(b.t)
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

// served wants the registry to have sent between least and most bytes.
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

const size = 3 << 20

func TestStore(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		set := map[string]string{"containerd.io/test": "one"}
		n, err := b.fetcher().Store(b.ctx, b.blob, set)
		if err != nil || n != size {
			t.Fatalf("got %d bytes fetched and %v, want %d", n, err, size)
		}
		b.stored()
		n, err = b.fetcher().Store(b.ctx, b.blob, map[string]string{"containerd.io/second": "two"})
		if err != nil || n != 0 {
			t.Errorf("got %d bytes fetched and %v of a blob that is there, want none", n, err)
		}
		b.served(size, size)
		info := pulltest.Must(b.store.Content.Info(b.ctx, b.blob.Desc.Digest))(t)
		want := map[string]string{"containerd.io/test": "one", "containerd.io/second": "two"}
		if diff := cmp.Diff(want, info.Labels); diff != "" {
			t.Errorf("labels differ (-want +got):\n%s", diff)
		}
	})
}

func TestEmptyBlob(t *testing.T) {
	each(t, 0, func(t *testing.T, b *bench) {
		if n, err := b.fetcher().Store(b.ctx, b.blob, nil); err != nil || n != 0 {
			t.Fatalf("got %d bytes fetched and %v, want none", n, err)
		}
		b.stored()
	})
}

// TestConsumerSeesEachByteOnce whatever happens on the way.
func TestConsumerSeesEachByteOnce(t *testing.T) {
	faults := map[string]testregistry.Behave{
		"honest":          nil,
		"cut twice":       first(2, testregistry.Behaviour{Fault: testregistry.Truncate, After: size / 3}),
		"reset twice":     first(2, testregistry.Behaviour{Fault: testregistry.Reset, After: size / 3}),
		"stalled once":    first(1, testregistry.Behaviour{Fault: testregistry.Stall, After: size / 2}),
		"status 500":      first(3, testregistry.Behaviour{Status: http.StatusInternalServerError}),
		"always 200":      func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{IgnoreRange: true} },
		"short once":      first(1, testregistry.Behaviour{Fault: testregistry.Short, After: size / 2}),
		"cut without any": first(2, testregistry.Behaviour{Fault: testregistry.Truncate}),
	}
	for name, behave := range faults {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				b.options.StallTimeout = 300 * time.Millisecond
				b.reg.SetBehave(behave)
				in := b.open()
				var got bytes.Buffer
				if err := in.Receive(b.ctx, &got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), b.data) {
					t.Errorf("got %d bytes in the consumer, want the %d of the blob", got.Len(), size)
				}
				if in.Offset() != size || in.Fetched() != size {
					t.Errorf("got offset %d and %d fetched, want both %d", in.Offset(), in.Fetched(), size)
				}
				if err := in.Commit(b.ctx, nil); err != nil {
					t.Fatal(err)
				}
				b.stored()
				b.served(size, size*5/3)
			})
		})
	}
}

// TestRangesIgnored lets a registry that always sends everything be cut: the
// bytes that are held are skipped.
func TestRangesIgnored(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		var cut atomic.Bool
		b.reg.SetBehave(func(*http.Request) testregistry.Behaviour {
			if cut.CompareAndSwap(false, true) {
				return testregistry.Behaviour{Fault: testregistry.Truncate, After: size / 2}
			}
			return testregistry.Behaviour{IgnoreRange: true}
		})
		var got bytes.Buffer
		if err := b.open().Receive(b.ctx, &got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), b.data) {
			t.Errorf("got %d bytes in the consumer, want the %d of the blob", got.Len(), size)
		}
	})
}

// TestResume continues an ingest that an earlier pull has left.
func TestResume(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		b.options.Retry.Count = -1
		b.reg.SetBehave(first(1, testregistry.Behaviour{Fault: testregistry.Truncate, After: size / 2}))
		in := b.open()
		if err := in.Receive(b.ctx, io.Discard); !errdefs.IsUnavailable(err) {
			t.Fatalf("got %v, want the class of a connection that was cut", err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		in = b.open()
		held := in.Offset()
		if held < size/4 || held > size/2 {
			t.Errorf("got %d bytes held, want most of %d", held, size/2)
		}
		var got bytes.Buffer
		if err := in.Receive(b.ctx, &got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), b.data[held:]) || in.Fetched() != size-held {
			t.Errorf("got %d bytes in the consumer and %d fetched, want the rest, %d", got.Len(), in.Fetched(), size-held)
		}
		if err := in.Commit(b.ctx, nil); err != nil {
			t.Fatal(err)
		}
		b.stored()
	})
}

// TestCorrupt heals once and gives up when every round is wrong; neither leaves
// anything that a later pull would fail on.
func TestCorrupt(t *testing.T) {
	wrong := testregistry.Behaviour{Fault: testregistry.Corrupt, After: size / 2}
	each(t, size, func(t *testing.T, b *bench) {
		b.reg.SetBehave(first(100, wrong))
		_, err := b.fetcher().Store(b.ctx, b.blob, nil)
		if !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), b.reg.Host()) {
			t.Errorf("got %v, want data loss by %s", err, b.reg.Host())
		}
		b.served(2*size, 4*size)
		if in := b.open(); in.Offset() != 0 {
			t.Errorf("got %d bytes held, want none", in.Offset())
		} else if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		b.reg.ResetLog()
		b.reg.SetBehave(first(1, wrong))
		if n, err := b.fetcher().Store(b.ctx, b.blob, nil); err != nil || n != 2*size {
			t.Errorf("got %d bytes fetched and %v, want %d: the blob twice", n, err, 2*size)
		}
		b.stored()
	})
}

// TestCorruptMirror is not asked again, for anything.
func TestCorruptMirror(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		other := pulltest.NewBlob(noise(1000))
		b.reg.AddBlob(other)
		mirror := testregistry.StartMirror(t, b.reg, testregistry.Options{
			Addr: "127.0.0.2:0", Behave: first(100, testregistry.Behaviour{Fault: testregistry.Corrupt, After: size / 2}),
		})
		b.options.Mirrors = []registry.Mirror{{Host: b.reg.Host(), Endpoints: []string{mirror.URL()}}}
		f := b.fetcher()
		if _, err := f.Store(b.ctx, b.blob, nil); err != nil {
			t.Fatal(err)
		}
		b.stored()
		b.blob.Desc.Digest, b.blob.Desc.Size = other.Digest, other.Size
		if _, err := f.Store(b.ctx, b.blob, nil); err != nil {
			t.Fatal(err)
		}
		if n := len(mirror.Requests()); n != 1 {
			t.Errorf("got %d requests to the corrupt mirror, want one", n)
		}
	})
}

// TestStaleIngest finds bytes that an earlier client left, wrong or too many.
func TestStaleIngest(t *testing.T) {
	stale := map[string]func(data []byte) []byte{
		"wrong beginning":   func(data []byte) []byte { return append([]byte("wrong"), data[5:size/2]...) },
		"wrong from end":    func([]byte) []byte { return noise(size - 1) },
		"wrong and whole":   func([]byte) []byte { return bytes.Repeat([]byte("x"), size) },
		"right and whole":   func(data []byte) []byte { return data },
		"right and too big": func(data []byte) []byte { return append(slices.Clone(data), "and more"...) },
	}
	for name, left := range stale {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				ref := "layer-" + b.blob.Desc.Digest.String()
				w := pulltest.Must(content.OpenWriter(b.ctx, b.store.Content, content.WithRef(ref)))(t)
				if _, err := w.Write(left(b.data)); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := b.fetcher().Store(b.ctx, b.blob, nil); err != nil {
					t.Fatal(err)
				}
				b.stored()
				b.served(0, 2*size)
			})
		})
	}
}

// TestConsumerFails ends at once: the network is not to blame.
func TestConsumerFails(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		full := errors.New("the disk is full")
		err := b.open().Receive(b.ctx, writerFunc(func(p []byte) (int, error) { return 0, full }))
		if !errors.Is(err, full) {
			t.Errorf("got %v, want %v", err, full)
		}
		if n := len(b.reg.Requests()); n != 1 {
			t.Errorf("got %d requests, want one", n)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestCancel(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		b.reg.SetBehave(first(100, testregistry.Behaviour{Fault: testregistry.Stall, After: size / 2}))
		ctx, cancel := context.WithCancelCause(b.ctx)
		cause := errors.New("enough")
		came := 0
		consume := writerFunc(func(p []byte) (int, error) {
			if came += len(p); came == size/2 {
				cancel(cause)
			}
			return len(p), nil
		})
		in := pulltest.Must(b.fetcher().Open(ctx, b.blob))(t)
		if err := in.Receive(ctx, consume); !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
		if err := in.Close(); err != nil {
			t.Errorf("got %v from Close, want the bytes kept", err)
		}
		status := pulltest.Must(b.store.Content.Status(b.ctx, "layer-"+b.blob.Desc.Digest.String()))(t)
		if status.Offset < size/2-(512<<10) {
			t.Errorf("got %d bytes kept, want about %d", status.Offset, size/2)
		}
	})
}

// TestTogether lets several fetchers want one blob: one fetches it.
func TestTogether(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		b.reg.SetBehave(func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Rate: 2 * size} })
		var g errgroup.Group
		for range 3 {
			f := b.fetcher()
			g.Go(func() error { _, err := f.Store(b.ctx, b.blob, nil); return err })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		b.stored()
		b.served(size, size)
	})
}

// TestManyConnections fetches a large blob faster than one connection allows,
// and every byte once.
func TestManyConnections(t *testing.T) {
	const large = 24 << 20
	each(t, large, func(t *testing.T, b *bench) {
		b.options.StallTimeout = time.Minute // of a machine that has other things to do
		b.reg.SetBehave(func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Rate: 8 << 20} })
		in := b.open()
		var got bytes.Buffer
		if err := in.Receive(b.ctx, &got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), b.data) {
			t.Errorf("got %d bytes in the consumer, want the %d of the blob in order", got.Len(), large)
		}
		if err := in.Commit(b.ctx, nil); err != nil {
			t.Fatal(err)
		}
		b.stored()
		remotes := map[string]bool{}
		for _, r := range b.reg.Requests() {
			remotes[r.Remote] = true
		}
		if n := len(remotes); n < 2 || n > 9 {
			t.Errorf("got %d connections, want 2 to 8, and the first", n)
		}
		b.served(large, large*5/4)
	})
}

// TestManyConnectionsFail breaks them in turn, and lets the registry forget
// what a range is.
func TestManyConnectionsFail(t *testing.T) {
	const large = 24 << 20
	each(t, large, func(t *testing.T, b *bench) {
		b.options.StallTimeout = time.Minute
		var asked atomic.Int32
		b.reg.SetBehave(func(*http.Request) testregistry.Behaviour {
			switch n := asked.Add(1); {
			case n == 3:
				return testregistry.Behaviour{Rate: 8 << 20, Fault: testregistry.Reset, After: 1 << 20}
			case n == 5:
				return testregistry.Behaviour{Status: http.StatusServiceUnavailable}
			case n == 7:
				return testregistry.Behaviour{IgnoreRange: true}
			}
			return testregistry.Behaviour{Rate: 8 << 20}
		})
		var got bytes.Buffer
		if err := b.open().Receive(b.ctx, &got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), b.data) {
			t.Errorf("got %d bytes in the consumer, want the %d of the blob in order", got.Len(), large)
		}
	})
}

// TestEvents begin with the host, grow, and end with the blob.
func TestEvents(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		b.reg.SetBehave(first(1, testregistry.Behaviour{Fault: testregistry.Truncate, After: size / 2}))
		if _, err := b.fetcher().Store(b.ctx, b.blob, nil); err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		var kinds []progress.Kind
		offset := int64(0)
		for _, e := range b.events {
			if len(kinds) == 0 || kinds[len(kinds)-1] != e.Kind {
				kinds = append(kinds, e.Kind)
			}
			if e.Digest != b.blob.Desc.Digest || e.Bytes.Total != size || e.Host != b.reg.Host() || e.Bytes.Done < offset {
				t.Errorf("got event %+v after offset %d, want the blob, the host and no way back", e, offset)
			}
			offset = e.Bytes.Done
		}
		want := []progress.Kind{progress.FetchStart, progress.FetchProgress, progress.FetchDone}
		if diff := cmp.Diff(want, kinds); diff != "" || offset != size {
			t.Errorf("got events up to offset %d, want %d; their order differs (-want +got):\n%s", offset, size, diff)
		}
	})
}

// TestBytes heals as well, and stores nothing.
func TestBytes(t *testing.T) {
	tests := []struct {
		name   string
		behave testregistry.Behave
		class  func(error) bool // nil for success
	}{
		{"honest", nil, nil},
		{"corrupt once", first(1, testregistry.Behaviour{Fault: testregistry.Corrupt, After: 10}), nil},
		{"cut twice", first(2, testregistry.Behaviour{Fault: testregistry.Truncate, After: 10}), nil},
		{"always corrupt", first(100, testregistry.Behaviour{Fault: testregistry.Corrupt, After: 10}), errdefs.IsDataLoss},
		{"refused", first(100, testregistry.Behaviour{Status: http.StatusForbidden}), errdefs.IsPermissionDenied},
		{"gone", first(100, testregistry.Behaviour{Status: http.StatusNotFound}), errdefs.IsNotFound},
	}
	each(t, 1000, func(t *testing.T, b *bench) {
		for _, tt := range tests {
			b.reg.SetBehave(tt.behave)
			got, err := b.fetcher().Bytes(b.ctx, b.blob)
			switch {
			case tt.class != nil && (err == nil || !tt.class(err)):
				t.Errorf("%s: got %d bytes and %v, want an error of another class", tt.name, len(got), err)
			case tt.class == nil && (err != nil || !bytes.Equal(got, b.data)):
				t.Errorf("%s: got %d bytes and %v, want the blob", tt.name, len(got), err)
			}
		}
		if _, err := b.store.Content.Info(b.ctx, b.blob.Desc.Digest); !errdefs.IsNotFound(err) {
			t.Errorf("got %v, want nothing stored", err)
		}
	})
}
