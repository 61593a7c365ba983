package root

import (
	"context"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// noImages is the diff.Applier of a root with snapshotter erofs: containerd's would make
// folders of layers.
type noImages struct{}

// Apply implements diff.Applier.
func (noImages) Apply(_ context.Context, desc ocispec.Descriptor, _ []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, failure.New(errdefs.ErrFailedPrecondition, "no EROFS image of layer %s can be made in a root", desc.Digest).
		WithHint("a daemon with snapshotter erofs may be able to; --snapshotter overlayfs takes any layer that is not a file system itself")
}
