package pull

import (
	"context"
	"fmt"
	"slices"
	"syscall"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// fits refuses, before the first layer is asked for, a plan that cannot fit
// into the file systems of the store. It knows the least that the plan takes:
// what passes may still turn out to be too large, but nothing is refused that
// would have fitted. Garbage that is in the way is removed.
func (p *Puller) fits(ctx context.Context, pl *Plan, room store.FreeSpace) error {
	if room.Content == nil {
		return nil
	}
	if most(ctx, pl).in(room) == nil {
		return nil // whatever the store has of it
	}
	n, err := p.need(ctx, pl, room)
	if err != nil {
		return err
	}
	if n.in(room) == nil {
		return nil
	}
	if err := p.Store.Collect(ctx, store.GarbageNow); err != nil {
		p.warn(pl.Request.Ref, "making room: %v", store.WithErrno(err))
	}
	room = p.Store.FreeSpace(ctx)
	if n, err = p.need(ctx, pl, room); err != nil {
		return err
	}
	return n.in(room)
}

// amount is what is written to one folder, at least.
type amount struct{ bytes, inodes int64 }

func (a amount) plus(b amount) amount { return amount{a.bytes + b.bytes, a.inodes + b.inodes} }

// need is what a plan writes to the content store and to the snapshotter.
type need struct{ content, snapshots amount }

// most is the need of a store that has nothing of pl. Where that fits, which is
// nearly always, the store need not be asked for each layer.
func most(ctx context.Context, pl *Plan) (n need) {
	for _, d := range pl.Documents {
		n.content = n.content.plus(amount{d.Desc.Size, 1})
	}
	for _, sel := range pl.Images {
		for _, l := range sel.Layers {
			n.content = n.content.plus(amount{l.Size, 1})
			n.snapshots = n.snapshots.plus(amount{unpackedAtLeast(ctx, l), 1})
		}
	}
	return n
}

// need looks at what is missing in the store. A blob is as large as it is, less
// what an earlier pull has left of it. Unpacked files are not smaller than the
// compressed stream that holds them; of a stream that is not compressed that
// cannot be said, since its headers may be more than its files.
func (p *Puller) need(ctx context.Context, pl *Plan, room store.FreeSpace) (need, error) {
	c := counter{
		p: p, room: room, held: map[string]int64{},
		blobs: map[digest.Digest]bool{}, chains: map[digest.Digest]bool{},
	}
	ingests, err := p.Store.Content.ListStatuses(ctx)
	if err != nil {
		return need{}, fmt.Errorf("listing ingests: %w", err)
	}
	for _, in := range ingests {
		c.held[in.Ref] = in.Offset
	}
	for _, d := range pl.Documents {
		c.blob(ctx, d.Desc)
	}
	for _, sel := range pl.Images {
		if err := c.image(ctx, sel); err != nil {
			return need{}, err
		}
	}
	return c.need, nil
}

// counter adds up a need.
type counter struct {
	p             *Puller
	room          store.FreeSpace
	held          map[string]int64 // bytes of ingests, by ref
	blobs, chains map[digest.Digest]bool
	need          need
}

func (c *counter) blob(ctx context.Context, desc ocispec.Descriptor) {
	if c.blobs[desc.Digest] || c.room.Holds(desc.Digest) {
		return
	}
	c.blobs[desc.Digest] = true
	missing := max(desc.Size-c.held[remotes.MakeRefKey(ctx, desc)], 0)
	c.need.content = c.need.content.plus(amount{missing, 1})
}

func (c *counter) image(ctx context.Context, sel Selected) error {
	if !sel.Unpack {
		for _, l := range sel.Layers {
			c.blob(ctx, l)
		}
		return nil
	}
	if c.room.Lazy {
		return nil
	}
	chain := identity.ChainIDs(slices.Clone(sel.DiffIDs))
	for i := len(chain) - 1; i >= 0; i-- {
		_, err := c.p.Store.Snapshotter.Stat(ctx, chain[i].String())
		if err == nil {
			return nil
		}
		if !errdefs.IsNotFound(err) {
			return fmt.Errorf("looking up snapshot %s: %w", chain[i], err)
		}
		c.blob(ctx, sel.Layers[i])
		c.snapshot(ctx, chain[i], sel.Layers[i])
	}
	return nil
}

func (c *counter) snapshot(ctx context.Context, chainID digest.Digest, desc ocispec.Descriptor) {
	if c.chains[chainID] {
		return
	}
	c.chains[chainID] = true
	least := amount{inodes: 1}
	if sn := c.room.Snapshots; sn != nil && !sn.Compresses {
		least.bytes = unpackedAtLeast(ctx, desc)
	}
	c.need.snapshots = c.need.snapshots.plus(least)
}

func unpackedAtLeast(ctx context.Context, desc ocispec.Descriptor) int64 {
	switch compression, err := images.DiffCompression(ctx, desc.MediaType); {
	case err != nil:
		return 0
	case compression == "gzip", compression == "zstd":
		return desc.Size
	}
	return 0
}

// in tells what is missing in room, if anything. Folders on one file system
// share what it has.
func (n need) in(room store.FreeSpace) error {
	content, snapshots := room.Content, room.Snapshots
	if content == nil {
		return nil
	}
	if err := n.content.in(content); err != nil || snapshots == nil {
		return err
	}
	if err := n.snapshots.in(snapshots); err != nil || snapshots.Device != content.Device {
		return err
	}
	larger := content // with quotas, the folders of one file system differ
	if snapshots.Bytes > content.Bytes {
		larger = snapshots
	}
	return n.content.plus(n.snapshots).in(larger)
}

func (a amount) in(s *store.Space) error {
	switch {
	case a.inodes == 0:
		return nil
	case s.ReadOnly:
		return fmt.Errorf("%s cannot be written: %w", s.Path, syscall.EROFS)
	case a.bytes > s.Bytes:
		return fmt.Errorf("the file system of %s has %s free, and the pull needs at least %s: %w",
			s.Path, progress.Size(s.Bytes), progress.Size(a.bytes), syscall.ENOSPC)
	case s.Inodes >= 0 && a.inodes > s.Inodes:
		return fmt.Errorf("the file system of %s has %d inodes free, and the pull needs at least %d: %w",
			s.Path, s.Inodes, a.inodes, syscall.ENOSPC)
	}
	return nil
}
