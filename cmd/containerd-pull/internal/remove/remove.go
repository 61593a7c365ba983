// Package remove removes records of images from a store, and knows which of them are
// to stay. It does not know what was typed. Start reading at Removal.
package remove

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Removal is the removal of images from one store.
type Removal struct {
	Store  *store.Store
	Images []images.Image
	Root   bool // the store is a root, which has no collector of its own
}

// Judge refuses the removal if one of the images is to stay.
func (r *Removal) Judge(ctx context.Context) error {
	ctx = r.Store.Context(ctx)
	used, all, err := r.look(ctx)
	if err != nil {
		return err
	}
	for _, img := range r.Images {
		why := ""
		if others := r.othersOfCRI(img, all); len(others) > 0 {
			why = "it is one of the names that CRI has for it, beside " + strings.Join(others, ", ")
		}
		if isPinned(img) {
			why = "it is pinned"
		}
		for _, c := range used {
			if c.Image == img.Name {
				why = fmt.Sprintf("container %s uses it", c.ID)
			}
		}
		if why != "" {
			return &exit.UsageError{Err: fmt.Errorf("image %s stays: %s", img.Name, why), Remedy: "--force removes it all the same"}
		}
	}
	return nil
}

func (r *Removal) look(ctx context.Context) (used []containers.Container, all []images.Image, err error) {
	if used, err = r.Store.Containers.List(ctx); err != nil {
		return nil, nil, fmt.Errorf("listing containers: %w", err)
	}
	if all, err = r.Store.Images.List(ctx); err != nil {
		return nil, nil, fmt.Errorf("listing images: %w", err)
	}
	return used, all, nil
}

func isPinned(img images.Image) bool { return img.Labels[output.LabelPinned] == output.PinnedValue }

// othersOfCRI lists the names that CRI has for the same image and that are to stay:
// it would show half an image.
func (r *Removal) othersOfCRI(img images.Image, all []images.Image) (others []string) {
	const label, managed = "io.cri-containerd.image", "managed"
	if img.Labels[label] != managed {
		return nil
	}
	for _, other := range all {
		goes := slices.ContainsFunc(r.Images, func(i images.Image) bool { return i.Name == other.Name })
		if !goes && other.Target.Digest == img.Target.Digest && other.Labels[label] == managed {
			others = append(others, other.Name)
		}
	}
	return others
}

// FindUnused makes the removal one of all images that no container uses. What is
// pinned stays, and so does every name of an image of which one name stays.
func (r *Removal) FindUnused(ctx context.Context) error {
	used, all, err := r.look(r.Store.Context(ctx))
	if err != nil {
		return err
	}
	stay := map[digest.Digest]bool{}
	for _, img := range all {
		isUsed := slices.ContainsFunc(used, func(c containers.Container) bool { return c.Image == img.Name })
		stay[img.Target.Digest] = stay[img.Target.Digest] || isUsed || isPinned(img)
	}
	r.Images = slices.DeleteFunc(all, func(img images.Image) bool { return stay[img.Target.Digest] })
	return nil
}

// Confirm looks again at what is unused, after the user was asked: an image that is
// new, or used by now, stays.
func (r *Removal) Confirm(ctx context.Context) error {
	agreed := r.Images
	if err := r.FindUnused(ctx); err != nil {
		return err
	}
	r.Images = slices.DeleteFunc(r.Images, func(img images.Image) bool {
		return !slices.ContainsFunc(agreed, func(i images.Image) bool {
			return i.Name == img.Name && i.Target.Digest == img.Target.Digest
		})
	})
	return nil
}

// Run removes the records. A daemon collects in its own time what only they kept; a
// root has no other collector.
func (r *Removal) Run(ctx context.Context, shown *output.Removed) error {
	for _, img := range r.Images {
		if slices.Contains(shown.Removed, img.Name) { // it was named twice
			continue
		}
		if err := r.Store.Images.Delete(r.Store.Context(ctx), img.Name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing %s: %w", img.Name, err)
		}
		shown.Removed = append(shown.Removed, img.Name)
	}
	if r.Root {
		if err := r.Store.Collect(ctx, store.GarbageNow); err != nil {
			return err
		}
	}
	return r.Store.Flush()
}
