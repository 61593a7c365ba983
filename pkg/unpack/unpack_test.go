package unpack_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// wantThree fails the test unless the snapshot shows what the layers of three
// make together.
func (b *bench) wantThree(top digest.Digest) {
	b.t.Helper()
	files := b.files(top)
	got := map[string]digest.Digest{}
	for _, e := range files {
		got[e.Path] = e.Content
	}
	want := map[string]digest.Digest{
		"/": "", "/etc": "", "/bin": "",
		"/etc/kept": digest.FromString("kept"), "/etc/new": digest.FromString("newer"), "/bin/run": digest.FromString("#!"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("files differ (-want +got):\n%s", diff)
	}
	// Only the first layer lists it: the others must not have changed it.
	if etc := tree.Find(b.t, files, "/etc"); etc.Mode&0o777 != 0o700 || etc.UID != 7 {
		b.t.Errorf("got mode %o and owner %d of a directory that was listed once, want 700 and 7", etc.Mode&0o777, etc.UID)
	}
}

// TestUnpack makes a chain of snapshots, and labels them and the blobs.
func TestUnpack(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		chain := identity.ChainIDs(slices.Clone(img.DiffIDs))
		u := unpack.New(b.options)
		got, err := u.Unpack(b.ctx, img)
		if err != nil {
			t.Fatal(err)
		}
		if got.Engine != unpack.EngineClient || got.ChainID != chain[2] || !got.Worked {
			t.Errorf("got %+v, want the client to have made %s", got, chain[2])
		}
		b.wantSnapshots(chain...)
		b.wantThree(chain[2])
		size := int64(0)
		for i, l := range img.Layers {
			size += l.Size
			info, err := b.store.Content.Info(b.ctx, l.Digest)
			if err != nil || info.Labels[labels.LabelUncompressed] != img.DiffIDs[i].String() {
				t.Errorf("got labels %v and %v for blob %d, want its diff ID", info.Labels, err, i)
			}
			if !u.Brought(l.Digest) {
				t.Errorf("got layer %d not brought", i)
			}
			b.wantLabels(chain, img.DiffIDs, i)
		}
		if fetched(u) != size || u.Unpacked() == 0 {
			t.Errorf("got %d bytes fetched and %d unpacked, want %d and some", fetched(u), u.Unpacked(), size)
		}
		select {
		case <-u.First():
		default:
			t.Error("got no sign of a first blob")
		}
		if u.Brought(digest.FromString("another")) {
			t.Error("got a blob brought that is not of the image")
		}
	})
}

// wantLabels fails the test unless snapshot i has the labels that containerd
// would have given it.
func (b *bench) wantLabels(chain, diffIDs []digest.Digest, i int) {
	b.t.Helper()
	want := map[string]string{snapshots.LabelSnapshotRef: chain[i].String(), snapshots.LabelSnapshotDiffID: diffIDs[i].String()}
	parent := ""
	if i > 0 {
		parent = chain[i-1].String()
		want["containerd.io/snapshot/parent-chain-id"] = parent
	}
	info, err := b.store.Snapshotter.Stat(b.ctx, chain[i].String())
	if err != nil || info.Parent != parent {
		b.t.Errorf("got parent %s and %v of snapshot %d, want %s", info.Parent, err, i, parent)
	}
	for key, value := range want {
		if info.Labels[key] != value {
			b.t.Errorf("got labels %v of snapshot %d, want %s=%s", info.Labels, i, key, value)
		}
	}
}

// TestOrder: where the snapshotter can rebase, layers are applied while the
// lowest is still on its way; elsewhere they are only fetched. Both commit in
// chain order.
func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		lowest := img.Layers[0].Digest
		var others atomic.Int32
		both := make(chan struct{})
		last := progress.FetchDone
		if b.store.Traits().Rebase {
			last = progress.UnpackDone
		}
		b.onEvent = func(e progress.Event) {
			if e.Kind == last && e.Digest != lowest && others.Add(1) == 2 {
				close(both)
			}
		}
		b.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
			if isFor(r, lowest) {
				select {
				case <-both:
				case <-r.Context().Done():
				}
			}
			return testregistry.Behaviour{}
		})
		b.mustUnpack(img)
		want := []digest.Digest{lowest, img.Layers[1].Digest, img.Layers[2].Digest}
		if diff := cmp.Diff(want, b.of(isCommit)); diff != "" {
			t.Errorf("order of commits differs (-want +got):\n%s", diff)
		}
		unpacked := b.of(func(e progress.Event) bool { return e.Kind == progress.UnpackDone })
		if at := slices.Index(unpacked, lowest); at == 0 && b.store.Traits().Rebase || at > 0 && !b.store.Traits().Rebase {
			t.Errorf("got unpacks in the order %v, want the lowest last if there is rebase, and else first", unpacked)
		}
	})
}

// TestFailureInTheMiddle leaves no snapshot from there on, and none that is not
// committed.
func TestFailureInTheMiddle(t *testing.T) {
	archive := func(data []byte) pulltest.Layer {
		l := pulltest.LayerFromTar(pulltest.Gzip, data)
		return l
	}
	for name, tc := range map[string]struct {
		layer  pulltest.Layer
		behave testregistry.Behaviour // for this layer
		class  func(error) bool
	}{
		"no archive": {archive([]byte(strings.Repeat("this is no archive ", 100))), testregistry.Behaviour{}, errdefs.IsInvalidArgument},
		"no gzip": {pulltest.Layer{Blob: pulltest.NewBlob([]byte("\x1f\x8b and no more of gzip")), DiffID: digest.FromString("x")},
			testregistry.Behaviour{}, errdefs.IsInvalidArgument},
		"missing": {layer(t, pulltest.Regular("a", "a")), testregistry.Behaviour{Status: http.StatusNotFound}, errdefs.IsNotFound},
		"corrupt": {layer(t, pulltest.Regular("b", "b")), testregistry.Behaviour{Fault: testregistry.Corrupt, After: 20}, errdefs.IsDataLoss},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				layers := three(t)
				layers[1] = tc.layer
				img := b.push(layers...)
				b.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
					if isFor(r, tc.layer.Digest) {
						return tc.behave
					}
					return testregistry.Behaviour{}
				})
				if _, err := b.unpack(img); !tc.class(err) || !strings.Contains(err.Error(), tc.layer.Digest.String()) {
					t.Errorf("got %v, want an error of another class, about %s", err, tc.layer.Digest)
				}
				lowest := identity.ChainIDs(slices.Clone(img.DiffIDs))[0].String()
				for name, kind := range b.snapshots() {
					if name != lowest || kind != snapshots.KindCommitted {
						t.Errorf("got the %s snapshot %s, want at most that of the lowest layer", kind, name)
					}
				}
			})
		})
	}
}

// TestWrongDiffID is a difference between the config and the layer, which
// fetching again would not mend.
func TestWrongDiffID(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		right := img.DiffIDs[2]
		img.DiffIDs[2] = digest.FromString("another layer")
		_, err := b.unpack(img)
		if !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), "got diff ID "+right.String()+", want "+img.DiffIDs[2].String()) {
			t.Errorf("got %v, want both diff IDs", err)
		}
		if got := b.reg.BlobGets()[img.Layers[2].Digest]; got != 1 {
			t.Errorf("got %d requests for the layer, want one", got)
		}
		for name := range b.snapshots() {
			if name == identity.ChainID(slices.Clone(img.DiffIDs)).String() {
				t.Errorf("got a snapshot of the wrong layer")
			}
		}
	})
}

// TestCorruptOnce begins again with an empty snapshot.
func TestCorruptOnce(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		layers := three(t)
		// The bit that flips is in a file: what is applied first looks well-formed.
		large := layer(t, pulltest.Regular("large", strings.Repeat("0123456789abcdef", 1<<16)), pulltest.Regular("last", "x"))
		img := b.push(append([]pulltest.Layer{large}, layers...)...)
		var asked atomic.Int32
		b.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
			if isFor(r, large.Digest) && asked.Add(1) == 1 {
				return testregistry.Behaviour{Fault: testregistry.Corrupt, After: large.Size / 2}
			}
			return testregistry.Behaviour{}
		})
		got := b.mustUnpack(img)
		b.wantSnapshots(identity.ChainIDs(slices.Clone(img.DiffIDs))...)
		if e := tree.Find(t, b.files(got.ChainID), "/large"); e.Size != 1<<20 || asked.Load() != 2 {
			t.Errorf("got a file of %d bytes after %d requests, want a MiB after 2", e.Size, asked.Load())
		}
	})
}

// TestDifferentNumbers of layers and diff IDs are no image.
func TestDifferentNumbers(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		img.DiffIDs = img.DiffIDs[:2]
		if _, err := b.unpack(img); !errdefs.IsDataLoss(err) {
			t.Errorf("got %v, want data loss", err)
		}
	})
}

// TestNoLayers need no snapshot.
func TestNoLayers(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if got := b.mustUnpack(b.push()); got.ChainID != "" || got.Worked {
			t.Errorf("got %+v, want nothing", got)
		}
		b.wantSnapshots()
	})
}

// TestGoesOnFromTheHighestSnapshot: what is below it is only kept.
func TestGoesOnFromTheHighestSnapshot(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		layers := three(t)
		b.mustUnpack(b.push(layers[:2]...))
		b.reg.ResetLog()
		img := b.push(layers...)
		kept := 0
		img.Keep = func(context.Context) error { kept++; return nil }
		got := b.mustUnpack(img)
		if gets := b.reg.BlobGets(); !got.Worked || kept != 1 || len(gets) != 1 || gets[layers[2].Digest] != 1 {
			t.Errorf("got %+v, blobs kept %d times and requests %v, want the third layer fetched", got, kept, gets)
		}
		b.wantThree(got.ChainID)
		b.reg.ResetLog()
		if got := b.mustUnpack(img); got.Worked || got.Reason != "nothing to unpack" || len(b.reg.BlobGets()) != 0 {
			t.Errorf("got %+v and requests %v, want nothing to be done", got, b.reg.BlobGets())
		}
	})
}

// TestKeepFails: a snapshot may not be relied upon when the blobs cannot be
// kept.
func TestKeepFails(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		b.mustUnpack(img)
		broken := errors.New("the lease is gone")
		img.Keep = func(context.Context) error { return broken }
		if _, err := b.unpack(img); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
	})
}

// TestLostBlob of a layer that has a snapshot is fetched again, and verified
// although nothing is written. With Discard it is not needed.
func TestLostBlob(t *testing.T) {
	for name, discard := range map[string]bool{"wanted": false, "discarded": true} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				img := b.push(three(t)...)
				b.mustUnpack(img)
				lost := img.Layers[1].Digest
				b.lose(lost)
				b.reg.ResetLog()
				b.options.Discard = discard
				u := unpack.New(b.options)
				if _, err := u.Unpack(b.ctx, img); err != nil {
					t.Fatal(err)
				}
				info, err := b.store.Content.Info(b.ctx, lost)
				if discard {
					if !errdefs.IsNotFound(err) || len(b.reg.BlobGets()) != 0 {
						t.Errorf("got %v for the blob and requests %v, want it left out", err, b.reg.BlobGets())
					}
					return
				}
				if err != nil || info.Labels[labels.LabelUncompressed] != img.DiffIDs[1].String() || b.reg.BlobGets()[lost] != 1 {
					t.Errorf("got %v, labels %v and requests %v, want the blob with its diff ID", err, info.Labels, b.reg.BlobGets())
				}
				if u.Unpacked() != 0 {
					t.Errorf("got %d bytes unpacked, want none", u.Unpacked())
				}
			})
		})
	}
}

// TestUnlabelledBlob was left by a pull that was killed: what it inflates to is
// verified before its snapshot is relied upon.
func TestUnlabelledBlob(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		b.mustUnpack(img)
		info := content.Info{Digest: img.Layers[0].Digest, Labels: map[string]string{}}
		if _, err := b.store.Content.Update(b.ctx, info, "labels"); err != nil {
			t.Fatal(err)
		}
		b.mustUnpack(img)
		info, err := b.store.Content.Info(b.ctx, info.Digest)
		if err != nil || info.Labels[labels.LabelUncompressed] != img.DiffIDs[0].String() {
			t.Errorf("got %v and labels %v, want the diff ID", err, info.Labels)
		}
	})
}

// TestBounds name the setting that refused a layer, whether it is unpacked or
// only verified.
func TestBounds(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(layer(t, pulltest.Regular("zeros", strings.Repeat("\x00", 1<<20))))
		bounded := b.options
		bounded.Bounds = unpack.Bounds{Bytes: 1 << 19}
		refused := func(what string) {
			t.Helper()
			_, err := unpack.New(bounded).Unpack(b.ctx, img)
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "limits.unpacked_bytes allows 524288 bytes") {
				t.Errorf("%s: got %v, want the setting", what, err)
			}
		}
		refused("unpacked")
		b.wantSnapshots()
		b.mustUnpack(img)
		b.lose(img.Layers[0].Digest)
		refused("verified")
	})
}

// TestCancel ends with its cause, and removes what was being unpacked.
func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(b.ctx)
		defer cancel(nil)
		b.onEvent = func(e progress.Event) {
			if e.Kind == progress.UnpackStart {
				cancel(enough)
			}
		}
		if _, err := unpack.New(b.options).Unpack(ctx, img); !errors.Is(err, enough) {
			t.Errorf("got %v, want %v", err, enough)
		}
		for name, kind := range b.snapshots() {
			if kind != snapshots.KindCommitted {
				t.Errorf("got the snapshot %s left, which is %s", name, kind)
			}
		}
	})
}

// TestEngines: the store's applier makes the same of an image, but keeps to no
// bounds; and some layers only that can apply.
func TestEngines(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		b.options.Engine, b.options.Bounds = unpack.EngineDaemon, unpack.Bounds{Bytes: 1 << 30}
		if _, err := b.unpack(img); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("got %v for bounds that containerd's applier does not know, want a refusal", err)
		}
		b.options.Bounds, b.options.SyncFS = unpack.Bounds{}, true
		if got := b.mustUnpack(img); got.Engine != unpack.EngineDaemon || got.Reason != "asked for" {
			t.Errorf("got %+v, want the engine that was asked for", got)
		}
		b.wantThree(identity.ChainID(slices.Clone(img.DiffIDs)))

		encrypted := b.push(layer(t, pulltest.Regular("secret", "x")))
		encrypted.Layers[0].MediaType += "+encrypted"
		b.options.Engine, b.options.Bounds = unpack.EngineClient, unpack.Bounds{Bytes: 1 << 30}
		if _, err := b.unpack(encrypted); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "is encrypted") {
			t.Errorf("got %v for an encrypted layer, want a refusal", err)
		}
	})
}

// TestSyncFS is asked of the client's engine as well.
func TestSyncFS(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.options.SyncFS = true
		b.wantThree(b.mustUnpack(b.push(three(t)...)).ChainID)
	})
}

// TestSharedLayers of images that are unpacked at the same time are fetched and
// unpacked once.
func TestSharedLayers(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		layers := three(t)
		images := []unpack.Image{
			b.push(layers...), b.push(layers[:2]...),
			b.push(layers[0], layer(t, pulltest.Regular("other", "x"))),
		}
		u := unpack.New(b.options)
		var g errgroup.Group
		for _, img := range images {
			g.Go(func() error { _, err := u.Unpack(b.ctx, img); return err })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		for dgst, n := range b.reg.BlobGets() {
			if n != 1 {
				t.Errorf("got %d requests for %s, want one", n, dgst)
			}
		}
		if got := len(b.snapshots()); got != 4 {
			t.Errorf("got %d snapshots, want 4", got)
		}
	})
}

// TestFetch brings layers into the content store, and makes no snapshot.
func TestFetch(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		img := b.push(three(t)...)
		u := unpack.New(b.options)
		if err := u.Fetch(b.ctx, img); err != nil {
			t.Fatal(err)
		}
		for _, l := range img.Layers {
			if _, err := b.store.Content.Info(b.ctx, l.Digest); err != nil || !u.Brought(l.Digest) {
				t.Errorf("got %v for layer %s, want it in the store", err, l.Digest)
			}
		}
		b.wantSnapshots()
		b.wantThree(b.mustUnpack(img).ChainID) // out of the content store
		for dgst, n := range b.reg.BlobGets() {
			if n != 1 {
				t.Errorf("got %d requests for %s, want one", n, dgst)
			}
		}
	})
}

// TestDownloadsAreBounded by the option, also while layers wait to be unpacked.
func TestDownloadsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		const most = 2
		b.options.Scheduler = unpack.NewScheduler(b.store, most, 2)
		var mu sync.Mutex
		busy, over := 0, false
		b.onEvent = func(e progress.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case e.Kind == progress.FetchStart:
				busy++
				over = over || busy > most
			case e.Kind == progress.FetchDone:
				busy--
			}
		}
		var layers []pulltest.Layer
		for i := range 8 {
			layers = append(layers, layer(t, pulltest.Regular(strings.Repeat("f", i+1), strings.Repeat("x", 1000*i))))
		}
		b.mustUnpack(b.push(layers...))
		if over {
			t.Errorf("got more than %d fetches at once", most)
		}
	})
}

// TestIngestOfAnEarlierPull is continued, and applied out of the content store.
func TestIngestOfAnEarlierPull(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		layers := three(t)
		img := b.push(layers...)
		first := img.Layers[0]
		body, err := layers[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		half := make([]byte, first.Size/2)
		if _, err := io.ReadFull(body, half); err != nil {
			t.Fatal(err)
		}
		w, err := content.OpenWriter(b.ctx, b.store.Content, content.WithRef("layer-"+first.Digest.String()), content.WithDescriptor(first))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(half); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		u := unpack.New(b.options)
		got, err := u.Unpack(b.ctx, img)
		if err != nil {
			t.Fatal(err)
		}
		b.wantThree(got.ChainID)
		want := first.Size - int64(len(half)) + img.Layers[1].Size + img.Layers[2].Size
		if fetched(u) != want {
			t.Errorf("got %d bytes fetched, want %d", fetched(u), want)
		}
	})
}

// TestOpen reads a layer without unpacking it.
func TestOpen(t *testing.T) {
	r, err := unpack.Open(strings.NewReader("plain"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(got) != "plain" {
		t.Errorf("got %q and %v, want what is in the layer", got, err)
	}
}

// fetched sums up what came over the network.
func fetched(u *unpack.Unpacker) (sum int64) {
	for _, n := range u.Fetched() {
		sum += n
	}
	return sum
}
