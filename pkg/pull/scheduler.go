package pull

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// maxShared bounds the bytes of documents that are kept for other images.
const maxShared = 16 << 20

// Scheduler is what pulls into one store at the same time have in common. Together
// they keep to the limits of one pull; what several images have is fetched and
// unpacked by one of them, which counts it, and those that wait for it do it
// themselves if that one fails. They do not need more room together than there is:
// an image that does not fit beside the others waits for their end.
type Scheduler struct {
	unpacks   *unpack.Scheduler
	fetches   *fetch.Shared
	guard     *store.Guard
	transfers fetch.Locks // the transfer service does one pull at a time

	mu     sync.Mutex
	bodies map[digest.Digest][]byte // documents that were fetched
	kept   int                      // bytes of bodies
	loads  map[*run]Load            // of the pulls at work
	ended  chan struct{}            // closed when one of them ends
	late   []func()                 // what waits for the end of all
}

// NewScheduler returns a Scheduler for pulls into s.
func NewScheduler(s *store.Store, l Limits) *Scheduler {
	return &Scheduler{
		unpacks: unpack.NewScheduler(s, l.downloads(), l.unpacks()), fetches: fetch.NewShared(), guard: store.NewGuard(l.Reserve),
		bodies: map[digest.Digest][]byte{}, loads: map[*run]Load{}, ended: make(chan struct{}),
	}
}

// scheduler is that of p, or one for a pull alone.
func (p *Puller) scheduler() *Scheduler {
	if p.Scheduler != nil {
		return p.Scheduler
	}
	return NewScheduler(p.Store, p.Limits)
}

// document returns a document that another image needed before, or else what get
// gets.
func (s *Scheduler) document(ctx context.Context, b fetch.Blob, get func() ([]byte, error)) (body []byte, fetched bool, err error) {
	unlock, err := s.fetches.Lock(ctx, b)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	if body := s.body(b.Desc.Digest); body != nil && int64(len(body)) == b.Desc.Size {
		return body, false, nil
	}
	if body, err = get(); err != nil {
		s.fetches.Fail(ctx, b, err)
		return body, true, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept+len(body) <= maxShared {
		s.bodies[b.Desc.Digest] = body
		s.kept += len(body)
	}
	return body, true, nil
}

func (s *Scheduler) body(dgst digest.Digest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[dgst]
}

// enter counts what r takes among the pulls at work. If that does not fit into space
// beside the others, it is not counted, and wait is closed when one of them ends.
func (s *Scheduler) enter(r *run, load Load, space store.FreeSpace) (wait <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loads, r) // of a round before
	var all Load
	for _, other := range s.loads {
		all.Add(other)
	}
	all.Add(load)
	if len(s.loads) > 0 && all.Fits(space) != nil {
		return s.ended
	}
	s.loads[r] = load
	return nil
}

// leave ends what enter began.
func (s *Scheduler) leave(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loads, r)
	close(s.ended)
	s.ended = make(chan struct{})
}

// later has f called by Close.
func (s *Scheduler) later(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = append(s.late, f)
}

// tidy is Close if no other pull than r is at work.
func (s *Scheduler) tidy(r *run) {
	s.mu.Lock()
	_, works := s.loads[r]
	alone := works && len(s.loads) == 1
	s.mu.Unlock()
	if alone {
		s.Close()
	}
}

// Close ends the leases of the pulls that failed. Until then what they brought is
// there for the others. It is called once all pulls have ended.
func (s *Scheduler) Close() {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	var running sync.WaitGroup
	for _, f := range late {
		running.Go(f)
	}
	running.Wait()
}
