// Package unpack turns the layers of an image into a chain of snapshots.
//
// Where this process may write into prepared snapshots (store.Writable), a
// layer is fetched, verified, stored, inflated, verified and applied while its
// bytes arrive. Where the snapshotter can rebase, many layers do so at once and
// are committed in chain order; otherwise they are applied one after the other.
// Where this process may not write, containerd applies what was fetched.
//
// The package neither talks to registries (see package fetch) nor writes files
// (see package layer), and it registers no image (see package pull).
//
// Read Unpack first, then chain.go for the unpack of one image, scheduler.go for what
// several have in common, layer.go for what happens to one layer, stream.go for the way
// of its bytes, and package unpack/pipeline for the goroutines that carry them.
package unpack

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

// Engine names what unpacks the layers; pkg/pull adds to the two of this room
// what it chooses among.
type Engine string

const (
	EngineClient Engine = "client" // this process
	EngineDaemon Engine = "daemon"
)

// Unpacker unpacks images into one store. The limits of its Scheduler hold for
// everything that it and others of that Scheduler do at the same time.
type Unpacker struct {
	store   *store.Store
	fetcher *fetch.Fetcher
	emit    progress.Sink
	syncFS  bool
	discard bool
	engine  Engine
	bounds  Bounds
	guard   *store.Guard

	shared    *Scheduler
	fetched   tally
	unpacked  atomic.Int64
	brought   sync.Map // digests of blobs that were fetched, or found in the content store
	first     chan struct{}
	markFirst func() // closes first, once
	mounts    sync.Mutex
	userXattr *bool // guarded by mounts; nil until it is known
}

// Options of an Unpacker.
type Options struct {
	Store     *store.Store
	Fetcher   *fetch.Fetcher
	Scheduler *Scheduler
	Progress  progress.Sink
	SyncFS    bool
	Discard   bool   // blobs are not needed once their layers are unpacked
	Engine    Engine // EngineClient, EngineDaemon, or "" for the first of them that can do it
	Bounds    Bounds
	Guard     *store.Guard // keeps room free; may be nil
}

// New returns an Unpacker.
func New(o Options) *Unpacker {
	first := make(chan struct{})
	return &Unpacker{
		first: first, markFirst: sync.OnceFunc(func() { close(first) }),
		store: o.Store, fetcher: o.Fetcher, emit: o.Progress, syncFS: o.SyncFS, discard: o.Discard, engine: o.Engine, bounds: o.Bounds, guard: cmp.Or(o.Guard, store.NewGuard(store.Reserve{})),
		shared: o.Scheduler,
	}
}

// Fetched returns how many bytes of each layer came over the network so far.
func (u *Unpacker) Fetched() map[digest.Digest]int64 { return u.fetched.all() }

// tally counts the bytes of each blob. Its zero value is ready.
type tally struct {
	mu    sync.Mutex
	bytes map[digest.Digest]int64
}

func (t *tally) add(dgst digest.Digest, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bytes == nil {
		t.bytes = map[digest.Digest]int64{}
	}
	t.bytes[dgst] += n
}

func (t *tally) all() map[digest.Digest]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.bytes)
}

// Unpacked returns how many uncompressed bytes were applied so far.
func (u *Unpacker) Unpacked() int64 { return u.unpacked.Load() }

// Brought reports whether the blob dgst was fetched or found in the content
// store. The blobs of layers that exist as snapshots are not looked for.
func (u *Unpacker) Brought(dgst digest.Digest) bool {
	_, ok := u.brought.Load(dgst)
	return ok
}

// Image is an image whose layers are to become a chain of snapshots.
type Image struct {
	Source  fetch.Source
	Layers  []ocispec.Descriptor // bottom first
	DiffIDs []digest.Digest      // of Layers
	// Keep puts what the content store has of the image under the caller's lease.
	// It is called before a snapshot that exists is relied upon, since both may be
	// about to be collected. It may be nil.
	Keep func(context.Context) error
}

// Result says which engine unpacked an image and why, and names the top of the
// chain.
type Result struct {
	Engine  Engine
	Reason  string
	ChainID digest.Digest
	Worked  bool // whether there was something to unpack
}

// Unpack fetches and unpacks what is missing of img. On an error the snapshots
// that were being unpacked are removed, and those that were committed stay under
// the caller's lease.
func (u *Unpacker) Unpack(ctx context.Context, img Image) (Result, error) {
	c, err := u.newChain(ctx, img)
	if err != nil {
		return Result{}, err
	}
	defer unlock(c.layers)
	if err := c.run(ctx); err != nil {
		return Result{}, err
	}
	return Result{Engine: c.engine, Reason: c.reason, ChainID: c.top(), Worked: c.worked()}, nil
}

// mountsUserXattr reports whether the snapshotter mounts with the option userxattr
// on top of the committed snapshot parent, and so on top of any.
func (u *Unpacker) mountsUserXattr(ctx context.Context, parent string) (bool, error) {
	u.mounts.Lock()
	defer u.mounts.Unlock()
	if u.userXattr == nil {
		is, err := u.store.UserXattr(ctx, parent)
		if err != nil {
			return false, fmt.Errorf("asking for the options of mounts: %w", err)
		}
		u.userXattr = &is
	}
	return *u.userXattr, nil
}

// Fetch fetches the layers of img without unpacking them.
func (u *Unpacker) Fetch(ctx context.Context, img Image) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, desc := range img.Layers {
		g.Go(func() error { return u.fetch(ctx, img, desc, pipeline.NewLoad(desc.Size, 0).Left) })
	}
	return g.Wait()
}

// fetch brings one layer into the content store. weight is that of its download.
func (u *Unpacker) fetch(ctx context.Context, img Image, desc ocispec.Descriptor, weight func() time.Duration) error {
	asked := time.Now()
	if err := u.shared.downloads.acquire(ctx, weight); err != nil {
		return err
	}
	defer u.shared.downloads.release()
	unlock, err := u.fetcher.Shared.Lock(ctx, img.blob(desc))
	if err != nil {
		return err
	}
	defer unlock()
	start := time.Now()
	u.phase(img.event(desc), progress.Wait, start.Sub(asked), 0)
	n, err := u.fetcher.Store(ctx, img.blob(desc), img.Source.Labels)
	if n > 0 {
		u.phase(img.event(desc), progress.Fetch, time.Since(start), n)
	}
	u.fetched.add(desc.Digest, n)
	if err != nil {
		u.fetcher.Shared.Fail(ctx, img.blob(desc), err)
		return err
	}
	u.note(desc.Digest)
	return nil
}

// note records that the blob dgst is in the content store.
func (u *Unpacker) note(dgst digest.Digest) {
	u.brought.Store(dgst, true)
	u.markFirst()
}

// First returns a channel that is closed once the first blob is in the content
// store.
func (u *Unpacker) First() <-chan struct{} { return u.first }

// phase completes e to say how long a part of the work took.
func (u *Unpacker) phase(e progress.Event, p progress.Phase, d time.Duration, n int64) {
	e.Kind, e.Phase, e.Duration, e.Bytes.Done = progress.PhaseDone, p, d, n
	u.emit.Emit(e)
}

func (img Image) blob(desc ocispec.Descriptor) fetch.Blob {
	return fetch.Blob{Ref: img.Source.Ref, Desc: desc, Kind: progress.Layer}
}

func (img Image) event(desc ocispec.Descriptor) progress.Event {
	return progress.Event{Ref: img.Source.Ref.Name, Blob: progress.Layer, Digest: desc.Digest, MediaType: desc.MediaType}
}
