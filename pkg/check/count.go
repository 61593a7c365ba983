package check

import (
	"maps"

	"github.com/opencontainers/go-digest"
)

// Counts sum up what was looked at, each thing once however many platforms or
// images have it: Blobs of so many Bytes were hashed.
type Counts struct {
	Blobs     int
	Bytes     int64
	Snapshots int
}

// Sum counts what images have together.
func Sum(reports []Report) Counts {
	all := newInventory()
	for _, r := range reports {
		maps.Copy(all.blobs, r.seen.blobs)
		maps.Copy(all.snapshots, r.seen.snapshots)
	}
	return all.counts()
}

// inventory is what was looked at.
type inventory struct {
	blobs     map[digest.Digest]int64 // sizes
	snapshots map[string]bool         // by chain ID
}

func newInventory() inventory {
	return inventory{blobs: map[digest.Digest]int64{}, snapshots: map[string]bool{}}
}

func (i inventory) counts() Counts {
	c := Counts{Blobs: len(i.blobs), Snapshots: len(i.snapshots)}
	for _, size := range i.blobs {
		c.Bytes += size
	}
	return c
}
