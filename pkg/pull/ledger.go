package pull

import (
	"maps"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ledger counts the bytes of a pull by blob, so that a blob counts once however
// many platforms and layers have it. It may be used from many goroutines.
type ledger struct {
	mu      sync.Mutex
	wanted  map[digest.Digest]int64 // sizes
	fetched map[digest.Digest]int64 // bytes that came over the network
}

func newLedger(fetched map[digest.Digest]int64) *ledger {
	l := &ledger{wanted: map[digest.Digest]int64{}, fetched: map[digest.Digest]int64{}}
	l.add(fetched)
	return l
}

// want counts a blob among those of the image.
func (l *ledger) want(desc ocispec.Descriptor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted[desc.Digest] = desc.Size
}

// fetch counts n bytes of a blob that came over the network.
func (l *ledger) fetch(dgst digest.Digest, n int64) { l.add(map[digest.Digest]int64{dgst: n}) }

func (l *ledger) add(fetched map[digest.Digest]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for dgst, n := range fetched {
		l.fetched[dgst] += n
	}
}

// setFetched replaces what came over the network.
func (l *ledger) setFetched(fetched map[digest.Digest]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetched = fetched
}

// all returns the bytes that came over the network, by blob.
func (l *ledger) all() map[digest.Digest]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.fetched)
}

// traffic returns how many bytes came over the network, and how many bytes of
// what is wanted did not have to. Bytes that were wrong and came twice count as
// often as they came.
func (l *ledger) traffic() (fetched, reused int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.fetched {
		fetched += n
	}
	for dgst, size := range l.wanted {
		reused += max(size-l.fetched[dgst], 0)
	}
	return fetched, reused
}
