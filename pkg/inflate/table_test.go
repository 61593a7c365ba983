package inflate_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// litSlot, distSlot and metaSlot say what a symbol's entry is, apart from its
// code.
func litSlot(s int) inflate.Slot {
	switch {
	case s < endOfBlock:
		return inflate.Slot{Literal: true, Value: s}
	case s == endOfBlock:
		return inflate.Slot{Other: true, End: true}
	case s < usableLit:
		return inflate.Slot{Value: lengthBase[s-257], Drop: lengthExtra[s-257]}
	}
	return inflate.Slot{Other: true}
}

func distSlot(s int) inflate.Slot {
	if s < usableDist {
		return inflate.Slot{Value: distBase[s], Drop: distExtra[s]}
	}
	return inflate.Slot{Other: true}
}

func metaSlot(s int) inflate.Slot { return inflate.Slot{Value: s} }

// TestTables: every index decodes as the code says, whatever bits follow.
func TestTables(t *testing.T) {
	w := &streamWriter{rng: rand.New(rand.NewPCG(5, 6))}
	lit, dist, meta := inflate.Tables()
	for range streams() {
		checkTable(t, w.rng, lit, w.randomCode(numLit, endOfBlock, longestCode), litSlot)
		checkTable(t, w.rng, dist, w.randomCode(numDist, 0, longestCode), distSlot)
		checkTable(t, w.rng, meta, w.randomCode(numMeta, 0, longestMeta), metaSlot)
	}
	for _, lens := range [][]uint8{{1, 1, 1}, {2}, {1, 2}, {0, 15}, {1, 2, 2, 15}} {
		if lit.Build(lens) {
			t.Errorf("invalid code %v accepted", lens)
		}
	}
}

func checkTable(t *testing.T, rng *rand.Rand, table *inflate.Table, lens []uint8, slot func(int) inflate.Slot) {
	t.Helper()
	if !table.Build(lens) {
		t.Fatalf("valid code %v rejected", lens)
	}
	codes := codesOf(lens)
	for s, n := range lens {
		if n == 0 {
			continue
		}
		v := int(codes[s] | rng.Uint32()<<n)
		got := table.At(v & (1<<table.Root - 1))
		left := uint(n)
		if left > table.Root {
			if !got.Other || !got.Link || got.Drop != table.Root {
				t.Fatalf("symbol %d: got %+v, want a link", s, got)
			}
			got = table.At(got.Value + v>>table.Root&(1<<got.CodeLen-1))
			left -= table.Root
		}
		want := slot(s)
		want.CodeLen = left
		want.Drop += left
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("symbol %d: -want +got:\n%s", s, diff)
		}
	}
}
