package store

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

const (
	// guardStep bounds how much is written between two looks at the free space,
	// and guardFresh how long a look is believed: others write, too.
	guardStep  = 8 << 20
	guardFresh = 100 * time.Millisecond
	// guardPart of what may still be written is written until the next look, so
	// that looks become more frequent as it gets less: small files take more than
	// their bytes.
	guardPart = 8
	// guardPause lets bytes reach the disk that were allowed and are on their way.
	guardPause = 20 * time.Millisecond
	// watchEvery is how often the space is looked at while containerd writes, and
	// watchMargin bounds what it may write until it has stopped.
	watchEvery  = 5 * time.Millisecond
	watchMargin = 16 << 20
)

// Reserve is what is to stay free on each file system that a pull writes to: so
// many bytes, or that part of its size. The zero value is nothing.
type Reserve struct {
	Bytes   int64
	Percent float64
}

// IsSet reports whether anything is to stay free.
func (r Reserve) IsSet() bool { return r.Bytes > 0 || r.Percent > 0 }

func (r Reserve) of(size int64) int64 { return max(r.Bytes, int64(r.Percent/100*float64(size))) }

// Keep returns the space with what is to stay free of it.
func (r FreeSpace) Keep(free Reserve) FreeSpace {
	for _, s := range []**Space{&r.Content, &r.Snapshots} {
		if *s != nil && free.IsSet() {
			kept := **s
			kept.Reserve, kept.Bytes = free.of(kept.Size), kept.available
			*s = &kept
		}
	}
	return r
}

// look returns the space as it is now.
func (s *Space) look() (*Space, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(s.place.Dir.Fd()), &fs); err != nil {
		return nil, fmt.Errorf("looking at the file system of %s: %w", s.Path, err)
	}
	now := *s
	now.Bytes = int64(fs.Bavail) * fs.Bsize
	return &now, nil
}

// Guard keeps a Reserve free while a pull writes. Before Open, and without a
// reserve, it allows everything. It may be used from many goroutines.
type Guard struct {
	reserve            Reserve
	mu                 sync.Mutex
	content, snapshots *allowance
}

// NewGuard returns a guard of the reserve.
func NewGuard(r Reserve) *Guard { return &Guard{reserve: r} }

// Lacks is the error for bytes that do not fit beside the reserve of the space.
func (s *Space) Lacks(bytes int64) error {
	return failure.New(unix.ENOSPC, "the file system of %s has %s free, of which %s are to stay free, and the pull needs at least %s",
		s.Path, progress.Size(s.Bytes), progress.Size(s.Reserve), progress.Size(bytes)).
		WithHint("make room on it, or lower --reserve")
}

// Open finds the file systems to guard. A reserve on one that cannot be seen from
// here is an errdefs.ErrFailedPrecondition; that of snapshots counts if the pull
// unpacks.
func (g *Guard) Open(ctx context.Context, s *Store, unpacks bool) error {
	if !g.reserve.IsSet() {
		return nil
	}
	space := s.FreeSpace(ctx).Keep(g.reserve)
	switch {
	case space.Content == nil:
		return failure.New(errdefs.ErrFailedPrecondition, "--reserve cannot be kept: the folder of blobs of this containerd cannot be seen from here")
	case space.Snapshots == nil && unpacks:
		return failure.New(errdefs.ErrFailedPrecondition, "--reserve cannot be kept: where snapshotter %s keeps its files is not known here", s.Name)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.content = g.content.over(space.Content)
	if space.Snapshots != nil && (space.Snapshots.Device != space.Content.Device || space.Snapshots.Size != space.Content.Size) {
		g.snapshots = g.snapshots.over(space.Snapshots)
	} else {
		g.snapshots = g.content
	}
	return nil
}

// over is the allowance of the space, which is a if that is the one it has: what
// several pulls write counts together.
func (a *allowance) over(s *Space) *allowance {
	if a == nil {
		return &allowance{space: s}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.space.Device != s.Device || a.space.Path != s.Path {
		return &allowance{space: s}
	}
	a.space = s
	return a
}

// allowances returns those of the file systems, nil if nothing is to be kept free.
func (g *Guard) allowances() (content, snapshots *allowance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.content, g.snapshots
}

// TakeContent allows n bytes to be written to the content store, or is the error
// of a full disk.
func (g *Guard) TakeContent(n int64) error {
	content, _ := g.allowances()
	return content.take(n)
}

// Reader reads from r what is going to be written into snapshots, as long as there is
// room for it.
func (g *Guard) Reader(r io.Reader) io.Reader {
	_, snapshots := g.allowances()
	if snapshots == nil {
		return r
	}
	return guardedReader{r, snapshots}
}

type guardedReader struct {
	r         io.Reader
	snapshots *allowance
}

// Read implements io.Reader.
func (g guardedReader) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if taken := g.snapshots.take(int64(n)); taken != nil {
		return 0, taken
	}
	return n, err
}

// Watch returns a context that ends when containerd, which writes meanwhile, is
// about to come below the reserve. The caller calls stop.
func (g *Guard) Watch(ctx context.Context) (watched context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	content, snapshots := g.allowances()
	if content == nil {
		return ctx, func() { cancel(nil) }
	}
	var running sync.WaitGroup
	for _, a := range slices.Compact([]*allowance{content, snapshots}) {
		running.Go(func() { a.watch(ctx, cancel) })
	}
	return ctx, func() {
		cancel(nil)
		running.Wait()
	}
}

// allowance is what may still be written to one file system. That of a nil one is
// not bounded.
type allowance struct {
	mu      sync.Mutex
	space   *Space
	left    int64 // until the next look
	granted int64 // since the last one, and perhaps not yet written
	looked  time.Time
}

func (a *allowance) take(n int64) error {
	if a == nil || n == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left < n || time.Since(a.looked) > guardFresh {
		err := a.look(n)
		if err != nil && a.granted > 0 { // which may have been counted twice
			<-time.After(guardPause) // too short to be interrupted
			a.granted = 0
			err = a.look(n)
		}
		if err != nil {
			return err
		}
	}
	a.left -= n
	a.granted += n
	return nil
}

// look finds out how much may be written, n bytes at least.
func (a *allowance) look(n int64) error {
	now, err := a.space.look()
	if err != nil {
		return err
	}
	room := now.Bytes - now.Reserve - a.granted
	if room < n {
		return now.Lacks(n)
	}
	a.left, a.granted, a.looked = max(n, min(guardStep, room/guardPart)), 0, time.Now()
	return nil
}

// watch ends ctx when what is free comes near the reserve.
func (a *allowance) watch(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	margin := int64(-1)
	for {
		a.mu.Lock()
		space := a.space
		a.mu.Unlock()
		now, err := space.look()
		if err == nil && margin < 0 {
			margin = min(watchMargin, max(now.Bytes-now.Reserve, 0)/4)
		}
		if err == nil && now.Bytes-now.Reserve < margin {
			err = now.Lacks(margin)
		}
		if err != nil {
			end(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
