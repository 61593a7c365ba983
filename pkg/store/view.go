package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// View is a look at a place for images that changes nothing there, does not wait
// and does not even make what is missing: what completion asks. daemon.View and
// root.View open one.
type View struct{ parts ViewParts }

// ViewParts is what a View looks through.
type ViewParts struct {
	Namespace    string
	Images       images.Store
	Blobs        content.Provider
	Namespaces   func(context.Context) ([]string, error)
	Snapshotters func(context.Context) ([]string, error)
	Close        func() error
}

// NewView returns the View through g, and closes g when it is closed.
func NewView(g ViewParts) *View { return &View{g} }

// Images lists the image records of the namespace.
func (v *View) Images(ctx context.Context) ([]images.Image, error) {
	all, err := v.parts.Images.List(namespaces.WithNamespace(ctx, v.parts.Namespace))
	if err != nil {
		return nil, fmt.Errorf("listing the images of namespace %s: %w", v.parts.Namespace, err)
	}
	return all, nil
}

// Platforms lists those of the image name, without attestations.
func (v *View) Platforms(ctx context.Context, name string) ([]ocispec.Platform, error) {
	ctx = namespaces.WithNamespace(ctx, v.parts.Namespace)
	img, err := v.parts.Images.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading the image record of %s: %w", name, err)
	}
	all, err := images.Platforms(ctx, v.parts.Blobs, img.Target)
	if err != nil {
		return nil, fmt.Errorf("reading the platforms of %s: %w", name, err)
	}
	return slices.DeleteFunc(all, func(p ocispec.Platform) bool { return p.OS == "unknown" }), nil
}

// Namespaces lists those of the daemon, or of the root.
func (v *View) Namespaces(ctx context.Context) ([]string, error) { return v.parts.Namespaces(ctx) }

// Snapshotters lists those that can be used.
func (v *View) Snapshotters(ctx context.Context) ([]string, error) { return v.parts.Snapshotters(ctx) }

// Close ends the look.
func (v *View) Close() error { return v.parts.Close() }
