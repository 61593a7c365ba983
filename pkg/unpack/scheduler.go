package unpack

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/layer/erofs"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

// Scheduler is what the unpacks of several images into one store share. It bounds what
// all of them do at once, decides whose turn it is, the layer that is waited for
// longest first, and knows who makes which snapshot, so that each is made once.
type Scheduler struct {
	downloads downloads
	pipeline  *pipeline.Pipeline
	held      *erofs.Budget // of the EROFS images that are made side by side
	alone     fetch.Locks   // held by who makes one beside these
	snapshots fetch.Locks   // by chain ID: held by the image that makes one
}

// NewScheduler returns a Scheduler for unpacks into s, of which so many layers are
// fetched and so many stages work at once; both numbers must be positive.
func NewScheduler(s *store.Store, fetched, stages int) *Scheduler {
	return &Scheduler{downloads: downloads{free: fetched}, pipeline: pipeline.New(stages, s.Hasher), held: erofs.NewBudget(heldTogether)}
}

// downloads are the rights to fetch a layer.
type downloads struct {
	mu      sync.Mutex
	free    int
	waiting []*download // in the order in which they came
}

// download is a layer that waits to be fetched.
type download struct {
	weight func() time.Duration // how long its image still takes, from this layer on
	ready  chan struct{}
}

// acquire waits for the right to fetch a layer; of those that wait, that of the
// greatest weight gets it. The caller calls release.
func (all *downloads) acquire(ctx context.Context, weight func() time.Duration) error {
	d := all.queue(weight)
	if d == nil {
		return nil
	}
	select {
	case <-d.ready:
		return nil
	case <-ctx.Done():
		all.leave(d)
		return context.Cause(ctx)
	}
}

// queue takes a right that is free, or else returns the place in the queue.
func (all *downloads) queue(weight func() time.Duration) *download {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.free > 0 {
		all.free--
		return nil
	}
	d := &download{weight, make(chan struct{})}
	all.waiting = append(all.waiting, d)
	return d
}

// leave gives up a place in the queue, or the right that has just been given.
func (all *downloads) leave(d *download) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if i := slices.Index(all.waiting, d); i >= 0 {
		all.waiting = slices.Delete(all.waiting, i, i+1)
		return
	}
	all.pass()
}

func (all *downloads) release() {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.pass()
}

// pass gives a right to the heaviest layer that waits.
func (all *downloads) pass() {
	if len(all.waiting) == 0 {
		all.free++
		return
	}
	next, most := 0, time.Duration(-1)
	for i, d := range all.waiting {
		if w := d.weight(); w > most {
			next, most = i, w
		}
	}
	close(all.waiting[next].ready)
	all.waiting = slices.Delete(all.waiting, next, next+1)
}
