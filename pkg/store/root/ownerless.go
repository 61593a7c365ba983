package root

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// ownerless is a diff.Applier for a user namespace that knows only one user:
// everything belongs to that one, where containerd's own applier would fail at the
// first file of another.
type ownerless struct{ content content.Provider }

// Apply implements diff.Applier.
func (o ownerless) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	var config diff.ApplyConfig
	for _, opt := range opts {
		if err := opt(ctx, desc, &config); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	ra, err := o.content.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("reading layer %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	layer, err := plainLayer(ctx, desc, ra)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer layer.Close()
	sum := &measured{r: layer, digester: digest.Canonical.Digester()}
	err = mount.WithTempMount(ctx, mounts, func(dir string) error {
		if _, err := archive.Apply(ctx, dir, sum, archive.WithNoSameOwner()); err != nil || !config.SyncFs {
			return err
		}
		return syncFolder(dir)
	})
	if err == nil { // what follows the end of the archive
		_, err = io.Copy(io.Discard, sum)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: sum.size, Digest: sum.digester.Digest()}, err
}

// syncFolder syncs the file system of dir.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// plainLayer decompresses a layer as containerd does.
func plainLayer(ctx context.Context, desc ocispec.Descriptor, ra content.ReaderAt) (diff.StreamProcessor, error) {
	layer := diff.NewProcessorChain(desc.MediaType, content.NewReader(ra))
	for layer.MediaType() != ocispec.MediaTypeImageLayer {
		var err error
		if layer, err = diff.GetProcessor(ctx, layer, nil); err != nil {
			return nil, fmt.Errorf("finding out how to read %s: %w", desc.MediaType, err)
		}
	}
	return layer, nil
}

// measured hashes and counts what is read.
type measured struct {
	r        io.Reader
	digester digest.Digester
	size     int64
}

// Read implements io.Reader.
func (m *measured) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.digester.Hash().Write(p[:n])
	m.size += int64(n)
	return n, err
}
