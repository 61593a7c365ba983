package fetch

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Shared is what Fetchers that work for several images at the same time have in
// common: the memory for blobs that come in pieces, who fetches which blob, and which
// blobs could not be fetched. It may be used from many goroutines and must not be
// copied.
type Shared struct {
	pieces     *semaphore.Weighted // see window
	freePieces sync.Pool           // of *[pieceSize]byte
	blobs      Locks               // by digest
	mu         sync.Mutex
	failed     map[digest.Digest]failedFetch
}

// failedFetch is the last word of the hosts of a blob about it.
type failedFetch struct {
	Blob
	err error
}

// NewShared returns a Shared.
func NewShared() *Shared {
	return &Shared{pieces: semaphore.NewWeighted(maxPieces), failed: map[digest.Digest]failedFetch{}}
}

// Lock waits until no one else fetches b. Its error is that of the others if they
// have failed for a reason that holds for b as well: the hosts are not asked again for
// each image that has the blob. Otherwise the caller calls unlock.
func (s *Shared) Lock(ctx context.Context, b Blob) (unlock func(), err error) {
	unlock, err = s.blobs.Lock(ctx, b.Desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if err := s.failure(b); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// Fail notes that b could not be fetched, if err says that of its hosts: once ctx has
// ended, it may be the failure of something else.
func (s *Shared) Fail(ctx context.Context, b Blob, err error) {
	if ctx.Err() != nil || !errors.Is(err, ErrUnserved) && !errors.Is(err, ErrCorrupt) && !errors.As(err, new(*source.Error)) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[b.Desc.Digest] = failedFetch{b, err}
}

// failure is why b cannot be fetched, as far as that is known. A repository may serve
// what another of the same host lacks or refuses, but not while the host gives no answer
// or wants to be asked less often; and what one manifest says wrongly of a blob, another
// may say right.
func (s *Shared) failure(b Blob) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, failed := s.failed[b.Desc.Digest]
	if !failed || f.Ref.Domain != b.Ref.Domain || f.Desc.Size != b.Desc.Size || !slices.Equal(f.Desc.URLs, b.Desc.URLs) {
		return nil
	}
	if f.Ref.Path != b.Ref.Path && !isAway(f.err) {
		return nil
	}
	return f.err
}

// isAway reports whether err says that a host answers no client now.
func isAway(err error) bool {
	answer, ok := errors.AsType[*source.Error](err)
	unanswered := ok && answer.Status == 0 && (errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err))
	return unanswered || errdefs.IsResourceExhausted(err)
}

// piece returns memory for a piece, which freePieces takes back.
func (s *Shared) piece() *[pieceSize]byte {
	if buf, ok := s.freePieces.Get().(*[pieceSize]byte); ok {
		return buf
	}
	return new([pieceSize]byte)
}

// Locks are locks by name, which those who wait may give up. The zero value is
// ready.
type Locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the lock is free again
}

// Lock waits for the lock, at most until ctx ends; the error is the cause of that.
func (l *Locks) Lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		unlock, free := l.try(name)
		if unlock != nil {
			return unlock, nil
		}
		select {
		case <-free:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// TryLock takes the lock if it is free; otherwise unlock is nil.
func (l *Locks) TryLock(name string) (unlock func()) {
	unlock, _ = l.try(name)
	return unlock
}

// try takes the lock, or returns what is closed when it is free again.
func (l *Locks) try(name string) (unlock func(), free <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.held[name]; other != nil {
		return nil, other
	}
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	mine := make(chan struct{})
	l.held[name] = mine
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, name)
		close(mine)
	}), nil
}
