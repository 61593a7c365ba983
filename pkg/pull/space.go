package pull

import (
	"context"
	"syscall"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// hasAmpleRoom reports whether there is room for the whole of the plan beside the
// other pulls at work, and no file in the place of its blobs that would have to go
// first. It asks nothing about them.
func (r *run) hasAmpleRoom(ctx context.Context) bool {
	s := r.p.newSurvey(r.plan)
	s.space = r.p.freeSpace(ctx)
	for desc := range r.plan.blobs {
		if s.space.Misfits(desc) {
			return false
		}
	}
	s.assumeEmpty()
	return s.missing(ctx).fits(s.space) == nil && r.scheduler.enter(r, s.load, s.space) == nil
}

// freeSpace looks at the space for a pull, and what is to stay free of it.
func (p *Puller) freeSpace(ctx context.Context) store.FreeSpace {
	return p.Store.FreeSpace(ctx).Keep(p.Limits.Reserve)
}

// makeRoom refuses, before the first layer is asked for, a plan that cannot fit
// into the file systems of the store. It knows the least that the plan takes:
// what passes may still turn out to be too large, but nothing is refused that
// would have fitted. Garbage that is in the way is removed.
func (r *run) makeRoom(ctx context.Context, space store.FreeSpace) error {
	if r.plan.Missing.fits(space) == nil {
		return nil
	}
	r.scheduler.tidy(r) // what failed pulls brought is garbage, too
	if err := r.p.Store.Collect(ctx, store.GarbageNow); err != nil {
		r.p.warn(r.plan.Request.Ref, "making room: %v", store.WithErrno(err))
	}
	s, err := r.p.survey(ctx, r.plan)
	if err != nil {
		return err
	}
	return r.plan.Missing.fits(s.space)
}

// unpackedAtLeast is what the files of a layer take at least. They are not
// smaller than the compressed stream that holds them; of a stream that is not
// compressed that cannot be said, since its headers may be more than its files.
func unpackedAtLeast(ctx context.Context, desc ocispec.Descriptor) int64 {
	switch compression, err := images.DiffCompression(ctx, desc.MediaType); {
	case err != nil:
		return 0
	case compression == "gzip", compression == "zstd":
		return desc.Size
	}
	return 0
}

// amount is what is written to one folder, at least.
type amount struct{ bytes, inodes int64 }

func (a amount) plus(b amount) amount { return amount{a.bytes + b.bytes, a.inodes + b.inodes} }

// fits returns why what is missing does not fit into space, nil if it may.
// Folders on one file system share what it has.
func (m Missing) fits(space store.FreeSpace) error {
	content, snapshots := space.Content, space.Snapshots
	if content == nil {
		return nil
	}
	files := amount{m.Unpacked, int64(len(m.Snapshots))}
	if space.Lazy {
		files = amount{}
	}
	blobs := amount{m.Bytes, m.Inodes - files.inodes}
	if err := blobs.fits(content); err != nil || snapshots == nil {
		return err
	}
	if err := files.fits(snapshots); err != nil || snapshots.Device != content.Device {
		return err
	}
	larger := content // with quotas, the folders of one file system differ
	if snapshots.Bytes > content.Bytes {
		larger = snapshots
	}
	return blobs.plus(files).fits(larger)
}

func (a amount) fits(s *store.Space) error {
	switch {
	case a.inodes == 0:
		return nil
	case s.ReadOnly:
		return failure.New(syscall.EROFS, "%s is on a file system that is mounted read-only", s.Path).WithHint("mount it so that it can be written; --root DIR pulls elsewhere")
	case s.Reserve > 0 && a.bytes > s.Bytes-s.Reserve:
		return s.Lacks(a.bytes)
	case a.bytes > s.Bytes:
		return failure.New(syscall.ENOSPC, "the file system of %s has %s free, and the pull needs at least %s",
			s.Path, progress.Size(s.Bytes), progress.Size(a.bytes))
	case s.Inodes >= 0 && a.inodes > s.Inodes:
		return failure.New(syscall.ENOSPC, "the file system of %s has %d inodes free, and the pull needs at least %d",
			s.Path, s.Inodes, a.inodes)
	}
	return nil
}
