package unpack_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// TestImagesWithoutMemory: a layer whose image takes more memory than there is beside
// the others is applied in its turn, and is seen to be unpacked once.
func TestImagesWithoutMemory(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	d := testdaemon.Start(t, testdaemon.Options{})
	for name, held := range map[string]int64{"none": 0, "some": 600, "plenty": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOn(t, teststore.Dial(t, store.Options{Address: d.Address, Namespace: name, Snapshotter: store.Erofs}), d.Root)
			u := unpack.New(b.options)
			u.HoldTogether(held)
			img := b.push(three(t)...)
			result, err := u.Unpack(b.ctx, img)
			if err != nil {
				t.Fatal(err)
			}
			b.wantThree(result.ChainID)
			unpacked := b.of(func(e progress.Event) bool { return e.Kind == progress.UnpackDone })
			if len(unpacked) != 3 || result.Engine != unpack.EngineClient {
				t.Errorf("got %+v with layers %v unpacked, want each once", result, unpacked)
			}
			b.wantSnapshots(identity.ChainIDs(slices.Clone(img.DiffIDs))...)
		})
	}
}

// TestLayersOfACache: a layer that the daemon takes from one of its caches is not
// written, but its blob is fetched and verified unless it is to be discarded.
func TestLayersOfACache(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	cache := t.TempDir()
	config := fmt.Sprintf("[plugins.'io.containerd.snapshotter.v1.erofs']\nlayer_content_caches = [%q]\n", cache)
	d := testdaemon.Start(t, testdaemon.Options{Version: "2.4", Config: config})
	on := func(namespace string) *bench {
		return newBenchOn(t, teststore.Dial(t, store.Options{Address: d.Address, Namespace: namespace, Snapshotter: store.Erofs}), d.Root)
	}
	first, second := layer(t, pulltest.Regular("one", "1")), layer(t, pulltest.Regular("two", "2"))
	b := on("fills")
	img := b.push(first)
	b.mustUnpack(img)
	made, err := filepath.Glob(filepath.Join(d.Root, "io.containerd.snapshotter.v1.erofs/snapshots/*/layer.erofs"))
	made = slices.DeleteFunc(made, func(name string) bool { // what an image was tried with is zeros
		data, err := os.ReadFile(name)
		return err != nil || len(bytes.Trim(data, "\x00")) == 0
	})
	if err != nil || len(made) != 1 {
		t.Fatalf("got images %v and %v, want one", made, err)
	}
	id := img.DiffIDs[0]
	entry := filepath.Join(cache, id.Algorithm().String(), id.Encoded()[:2], id.Encoded()+".erofs")
	if err := os.MkdirAll(filepath.Dir(entry), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(made[0], entry); err != nil {
		t.Fatal(err)
	}
	for name, discard := range map[string]bool{"kept": false, "discarded": true} {
		b := on(name)
		b.options.Discard = discard
		img := b.push(second, first)
		result := b.mustUnpack(img)
		info, err := b.store.Content.Info(b.ctx, first.Digest)
		switch {
		case discard && !errdefs.IsNotFound(err):
			t.Errorf("got %v for the blob of a cached layer, want none", err)
		case !discard && (err != nil || info.Labels[labels.LabelUncompressed] != img.DiffIDs[1].String()):
			t.Errorf("got %v and labels %v for the blob of a cached layer, want its diff ID", err, info.Labels)
		}
		if result.Engine != unpack.EngineClient {
			t.Errorf("got engine %s (%s), want that of the client", result.Engine, result.Reason)
		}
		b.wantSnapshots(identity.ChainIDs(slices.Clone(img.DiffIDs))...)
	}
}

// TestDamagedImageBelow: where the image of a layer below is damaged, neither is the
// layer fetched again nor the registry blamed, and the snapshot is named.
func TestDamagedImageBelow(t *testing.T) {
	b := newBench(t, store.Erofs)
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	layers := []pulltest.Layer{three(t)[0], layer(t, pulltest.Regular("noise", string(noise)))}
	below := b.mustUnpack(b.push(layers[0]))
	img := b.push(layers...)
	var asked atomic.Int32
	b.reg.SetBehave(func(r *http.Request) testregistry.Behaviour { // the layer cannot prove right before it is applied
		if !isFor(r, layers[1].Digest) || asked.Add(1) > 1 {
			return testregistry.Behaviour{}
		}
		return testregistry.Behaviour{Fault: testregistry.Stall, After: 1 << 19}
	})
	var damaged atomic.Bool
	b.onEvent = func(e progress.Event) {
		if e.Digest != layers[1].Digest || damaged.Swap(true) {
			return
		}
		made, err := filepath.Glob(filepath.Join(b.dir, "io.containerd.snapshotter.v1.erofs/snapshots/*/layer.erofs"))
		if err != nil || len(made) != 1 || os.WriteFile(made[0], make([]byte, 4096), 0o644) != nil {
			t.Errorf("got images %v and %v, want one, to damage it", made, err)
		}
	}
	_, err := b.unpack(img)
	if !errdefs.IsDataLoss(err) || errors.Is(err, fetch.ErrCorrupt) || !strings.Contains(err.Error(), below.ChainID.String()) ||
		!strings.Contains(failure.HintOf(err), "verify --repair") {
		t.Errorf("got %v with the hint %q, want the damaged snapshot", err, failure.HintOf(err))
	}
	if n := b.reg.BlobGets()[layers[1].Digest]; n > 1 {
		t.Errorf("got %d requests for the layer, want at most one", n)
	}
}
