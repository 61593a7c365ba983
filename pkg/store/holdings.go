package store

import (
	"context"
	"fmt"
	"maps"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

// Held is what there is of an image.
type Held struct {
	Image images.Image
	// Platforms are those that are fetched or unpacked, in the order of the image;
	// without any, those of which there is a layer. Platforms share layers, so that
	// one layer does not say that a platform was pulled.
	Platforms []HeldPlatform
	// Blobs and Snapshots are what the image has on disk, by digest or chain ID, with
	// their bytes. Other images may have some of them too.
	Blobs, Snapshots map[digest.Digest]int64
}

// HeldPlatform is what there is of one platform of an image.
type HeldPlatform struct {
	Platform string // empty for an artifact
	// Unpacked reports whether the snapshot of the top layer is there, Fetched
	// whether the blobs of all layers are.
	Unpacked, Fetched bool
}

// Holdings says what there is of images, by the records alone: no file is looked at.
func (s *Store) Holdings(ctx context.Context, all []images.Image) ([]Held, error) {
	ctx = s.Context(ctx)
	h := holder{Store: s, snapshots: map[digest.Digest]int64{}}
	held := make([]Held, len(all))
	for i, img := range all {
		held[i] = Held{Image: img, Blobs: map[digest.Digest]int64{}, Snapshots: map[digest.Digest]int64{}}
		if err := h.look(ctx, &held[i]); err != nil {
			return nil, fmt.Errorf("looking at %s: %w", img.Name, err)
		}
	}
	return held, nil
}

// Total sums up what images have on disk, each thing once.
func Total(all []Held) (blobs, snapshots Sum) {
	b, s := map[digest.Digest]int64{}, map[digest.Digest]int64{}
	for _, one := range all {
		maps.Copy(b, one.Blobs)
		maps.Copy(s, one.Snapshots)
	}
	return SumOf(b), SumOf(s)
}

// SumOf sums up things and their bytes.
func SumOf(things map[digest.Digest]int64) Sum {
	var sum Sum
	for _, bytes := range things {
		sum.add(bytes)
	}
	return sum
}

// holder looks at images one after the other. It asks for each snapshot once.
type holder struct {
	*Store
	snapshots map[digest.Digest]int64 // -1 for one that is not there
}

func (h *holder) look(ctx context.Context, into *Held) error {
	if into.Image.Target.Digest.Validate() != nil {
		return nil
	}
	manifests, err := image.Walk(ctx, into.Image.Target, image.Visitor{
		Read: func(ctx context.Context, n *image.Node) ([]byte, error) {
			body, err := h.document(ctx, n.Desc, into)
			if body == nil && err == nil {
				err = image.ErrSkip
			}
			return body, err
		},
		Fault: func(image.Fault) error { return nil },
	})
	if err != nil {
		return err
	}
	var some []HeldPlatform
	for _, n := range manifests {
		p, isSome, err := h.manifest(ctx, n.Desc, into)
		if err != nil {
			return err
		}
		if isSome {
			some = append(some, p)
		}
		if p.Fetched || p.Unpacked {
			into.Platforms = append(into.Platforms, p)
		}
	}
	if len(into.Platforms) == 0 {
		into.Platforms = some
	}
	return nil
}

// document returns the bytes of a document and counts it; nil if it is not there or
// makes no sense.
func (h *holder) document(ctx context.Context, desc ocispec.Descriptor, into *Held) ([]byte, error) {
	there, err := h.blob(ctx, desc.Digest, into)
	if err != nil || !there {
		return nil, err
	}
	body, err := h.Document(ctx, desc)
	if errdefs.IsDataLoss(err) || errdefs.IsNotFound(err) { // verify says so
		return nil, nil
	}
	return body, err
}

// blob counts a blob, and reports whether there is one.
func (h *holder) blob(ctx context.Context, dgst digest.Digest, into *Held) (bool, error) {
	if dgst.Validate() != nil {
		return false, nil
	}
	info, err := h.Content.Info(ctx, dgst)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up blob %s: %w", dgst, err)
	}
	into.Blobs[dgst] = info.Size
	return true, nil
}

// manifest counts what there is of one platform; some reports whether that is a
// layer at least.
func (h *holder) manifest(ctx context.Context, desc ocispec.Descriptor, into *Held) (p HeldPlatform, some bool, err error) {
	body, err := h.document(ctx, desc, into)
	if err != nil || body == nil {
		return p, false, err
	}
	var m ocispec.Manifest
	if image.Parse(desc, body, &m) != nil {
		return p, false, nil
	}
	layers, _, why := image.FileSystem(m)
	if why == "" {
		p.Platform, p.Unpacked, err = h.unpacked(ctx, m.Config, len(layers), into)
	} else {
		_, err = h.blob(ctx, m.Config.Digest, into)
	}
	p.Fetched = true
	for _, l := range m.Layers {
		there := false
		if err == nil {
			there, err = h.blob(ctx, l.Digest, into)
		}
		some, p.Fetched = some || there, p.Fetched && there
	}
	return p, some, err
}

// unpacked counts the snapshots of the layers, and reports whether the top one is
// there.
func (h *holder) unpacked(ctx context.Context, desc ocispec.Descriptor, layers int, into *Held) (platform string, top bool, err error) {
	body, err := h.document(ctx, desc, into)
	if err != nil || body == nil {
		return "", false, err
	}
	var c image.Config
	if image.Parse(desc, body, &c) != nil || len(c.RootFS.DiffIDs) != layers {
		return "", false, nil
	}
	for _, id := range c.RootFS.DiffIDs {
		if id.Validate() != nil {
			return "", false, nil
		}
	}
	platform = platforms.FormatAll(platforms.Normalize(c.Platform))
	for _, chain := range identity.ChainIDs(c.RootFS.DiffIDs) {
		bytes, err := h.snapshot(ctx, chain)
		if err != nil {
			return "", false, err
		}
		if top = bytes >= 0; top {
			into.Snapshots[chain] = bytes
		}
	}
	return platform, top, nil
}

// snapshot is the size of a snapshot, -1 if there is none.
func (h *holder) snapshot(ctx context.Context, chain digest.Digest) (int64, error) {
	if bytes, ok := h.snapshots[chain]; ok {
		return bytes, nil
	}
	usage, err := h.Snapshotter.Usage(ctx, chain.String())
	switch {
	case errdefs.IsNotFound(err):
		usage.Size = -1
	case err != nil:
		return 0, fmt.Errorf("looking up snapshot %s: %w", chain, err)
	}
	h.snapshots[chain] = usage.Size
	return usage.Size, nil
}
