package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

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
		info, err := b.store.Content.Info(b.ctx, b.blob.Desc.Digest)
		if err != nil {
			t.Fatal(err)
		}
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

// TestConsumerSeesEachByteOnce, whichever faults the first requests of each store
// meet.
func TestConsumerSeesEachByteOnce(t *testing.T) {
	fault := func(n int32, f testregistry.Behaviour) func() testregistry.Behave {
		return func() testregistry.Behave { return first(n, f) }
	}
	faults := map[string]func() testregistry.Behave{
		"honest":          func() testregistry.Behave { return nil },
		"cut twice":       fault(2, testregistry.Behaviour{Fault: testregistry.Truncate, After: size / 3}),
		"reset twice":     fault(2, testregistry.Behaviour{Fault: testregistry.Reset, After: size / 3}),
		"stalled once":    fault(1, testregistry.Behaviour{Fault: testregistry.Stall, After: size / 2}),
		"status 500":      fault(3, testregistry.Behaviour{Status: http.StatusInternalServerError}),
		"always 200":      fault(100, testregistry.Behaviour{IgnoreRange: true}),
		"short once":      fault(1, testregistry.Behaviour{Fault: testregistry.Short, After: size / 2}),
		"cut without any": fault(2, testregistry.Behaviour{Fault: testregistry.Truncate}),
	}
	for name, behave := range faults {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				b.options.StallTimeout = 300 * time.Millisecond
				b.reg.SetBehave(behave())
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
		b.options.Hosts.Mirrors = []hosts.Mirror{{Host: b.reg.Host(), Endpoints: []string{mirror.URL()}}}
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
				w, err := content.OpenWriter(b.ctx, b.store.Content, content.WithRef(ref))
				if err != nil {
					t.Fatal(err)
				}
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
		in, err := b.fetcher().Open(ctx, b.blob)
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Receive(ctx, consume); !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
		if err := in.Close(); err != nil {
			t.Errorf("got %v from Close, want the bytes kept", err)
		}
		status, err := b.store.Content.Status(b.ctx, "layer-"+b.blob.Desc.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		if status.Offset < size/2-(512<<10) {
			t.Errorf("got %d bytes kept, want about %d", status.Offset, size/2)
		}
	})
}

// TestTogether lets several fetchers want one blob: one fetches it.
func TestTogether(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		b.reg.SetBehave(func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Rate: 8 * size} })
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
	if testing.Short() {
		t.Skip("the connections are judged over seconds")
	}
	const large = 24 << 20
	each(t, large, func(t *testing.T, b *bench) {
		b.options.StallTimeout = time.Minute // for machines that are busy with other things
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
	if testing.Short() {
		t.Skip("the connections are judged over seconds")
	}
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

// TestL12LateBytes has a small blob come by a byte now and then.
func TestL12LateBytes(t *testing.T) {
	each(t, 1000, func(t *testing.T, b *bench) {
		b.options.StallTimeout = 100 * time.Millisecond
		b.reg.SetBehave(first(100, testregistry.Behaviour{Rate: 50}))
		start := time.Now()
		got, err := b.fetcher().Bytes(b.ctx, b.blob)
		if took := time.Since(start); !errdefs.IsUnavailable(err) || took > 10*time.Second {
			t.Errorf("got %d bytes and %v after %s, want them to be unavailable soon", len(got), err, took)
		}
	})
}
