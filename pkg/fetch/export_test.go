package fetch

import "time"

// What the tests of package fetch_test decide and look at from inside.

const (
	PieceSize = pieceSize
	MaxConns  = maxConns
)

// BeginWith lets blobs begin with several connections, as if these had proved to
// be faster.
func (f *Fetcher) BeginWith(conns int) { f.conns = conns }

// LoseLocksAfter sets how long a lock may be without an ingest.
func (f *Fetcher) LoseLocksAfter(d time.Duration) { f.lostLock = d }

// PiecesReturned reports whether the memory of all pieces was given back.
func (f *Fetcher) PiecesReturned() bool {
	if !f.Shared.pieces.TryAcquire(maxPieces) {
		return false
	}
	f.Shared.pieces.Release(maxPieces)
	return true
}
