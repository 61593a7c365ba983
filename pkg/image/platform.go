package image

import (
	"bytes"
	"context"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Read returns the bytes of an index, a manifest or a config, verified.
type Read func(context.Context, ocispec.Descriptor) ([]byte, error)

// ErrNoMatch is the error of Choose if containerd finds no manifest. It is an
// errdefs.ErrNotFound.
var ErrNoMatch error = failure.New(errdefs.ErrNotFound, "no manifest for the platform")

// Choose returns the manifest that containerd runs of an image on the platform
// want: what images.Manifest finds in a content store that has the image. Of each
// index containerd looks at one entry alone, that which suits best; an entry
// without a platform suits every want, after those with one. An image that is no
// index is its target, whatever its platform.
//
// An error other than ErrNoMatch is that of a document that Choose had to read,
// whose descriptor comes with it.
func Choose(ctx context.Context, target ocispec.Descriptor, want platforms.MatchComparer, read Read) (ocispec.Descriptor, error) {
	docs := &documents{read: read}
	best := images.LimitManifests(images.FilterPlatforms(images.ChildrenHandler(docs), want), want, 1)
	desc := target
	for images.IsIndexType(desc.MediaType) {
		children, err := best(ctx, desc)
		if err != nil {
			return desc, docs.explain(desc, err)
		}
		desc = bare(children[0])
	}
	if !images.IsManifestType(desc.MediaType) {
		return desc, ErrNoMatch
	}
	if desc.Digest == target.Digest {
		return desc, nil
	}
	return desc, docs.confirm(ctx, desc, want)
}

// bare is desc without what a foreign index may hold in it of the document.
func bare(desc ocispec.Descriptor) ocispec.Descriptor {
	desc.Data = nil
	return desc
}

// documents are those of an image, as containerd's functions read them.
type documents struct {
	read Read
	err  error // of read
}

// ReaderAt implements content.Provider.
func (d *documents) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	body, err := d.body(ctx, desc)
	if err != nil {
		d.err = err
		return nil, err
	}
	return document(body), nil
}

func (d *documents) body(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if err := source.ValidDigest(desc.Digest); err != nil {
		return nil, err
	}
	body, err := d.read(ctx, desc)
	if err != nil {
		return nil, err
	}
	if err := bounded(body); err != nil {
		return nil, malformed(desc, err)
	}
	return body, nil
}

// document is a content.ReaderAt.
type document []byte

// ReadAt implements io.ReaderAt.
func (d document) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(d).ReadAt(p, off) }

// Size is that of the document.
func (d document) Size() int64 { return int64(len(d)) }

// Close implements io.Closer.
func (document) Close() error { return nil }

// explain gives the error of one of containerd's functions about desc its class.
func (d *documents) explain(desc ocispec.Descriptor, err error) error {
	switch {
	case d.err != nil:
		return d.err
	case errdefs.IsNotFound(err):
		return ErrNoMatch
	}
	return malformed(desc, err)
}

// confirm reads a manifest that an index lists. If the index does not name its
// platform, its config has to suit want.
func (d *documents) confirm(ctx context.Context, desc ocispec.Descriptor, want platforms.Matcher) error {
	children, err := images.Children(ctx, d, desc)
	if err != nil {
		return d.explain(desc, err)
	}
	if desc.Platform != nil {
		return nil
	}
	config := bare(children[0])
	p, err := images.ConfigPlatform(ctx, d, config)
	switch {
	case err != nil:
		return d.explain(config, err)
	case !want.Match(p):
		return ErrNoMatch
	}
	return nil
}

// Platforms lists the platforms that an image is made for, as images.Platforms
// does. What cannot be read is left out.
func Platforms(ctx context.Context, target ocispec.Descriptor, read Read) (all []ocispec.Platform) {
	docs := &documents{read: read}
	visit := func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		switch {
		case IsAttestation(desc):
			return nil, nil
		case desc.Platform != nil:
			all = append(all, *desc.Platform)
			return nil, nil
		case images.IsConfigType(desc.MediaType):
			if p, err := images.ConfigPlatform(ctx, docs, bare(desc)); err == nil {
				all = append(all, p)
			}
			return nil, nil
		}
		children, err := images.Children(ctx, docs, bare(desc))
		if err != nil {
			return nil, images.ErrSkipDesc
		}
		return children, nil
	}
	_ = images.Walk(ctx, images.HandlerFunc(visit), target) // its error says that there are too many to be listed
	return all
}
