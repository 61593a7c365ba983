package unpack_test

import (
	"slices"
	"testing"

	"github.com/opencontainers/image-spec/identity"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
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
