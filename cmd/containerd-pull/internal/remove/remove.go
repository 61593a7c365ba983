// Package remove removes records of images from a store, and knows which of them are
// to stay. It does not know what was typed. Start reading at Removal.
package remove

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// docker is the namespace of Docker.
const docker = "moby"

// Removal is the removal of images from one store.
type Removal struct {
	Store  *store.Store
	Images []images.Image
	Root   bool // the store is a root, which has no collector of its own
}

// Judge refuses the removal if one of the images is to stay.
func (r *Removal) Judge(ctx context.Context) error {
	ctx = r.Store.Context(ctx)
	uses, all, err := r.look(ctx)
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
		if user := uses.Of(img); user != "" {
			why = user
		}
		if why != "" {
			return &exit.UsageError{Err: fmt.Errorf("image %s stays: %s", img.Name, why), Remedy: "--force removes it all the same"}
		}
	}
	return nil
}

func (r *Removal) look(ctx context.Context) (uses *store.Uses, all []images.Image, err error) {
	if uses, err = r.Store.Uses(ctx); err != nil {
		return nil, nil, err
	}
	if all, err = r.Store.Images.List(ctx); err != nil {
		return nil, nil, fmt.Errorf("listing images: %w", err)
	}
	return uses, all, nil
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

// FindUnused makes the removal one of all images that nothing uses. What is pinned
// stays, and so does every name of an image of which one name stays. Docker's images
// are refused: containerd does not know of its containers that do not run.
func (r *Removal) FindUnused(ctx context.Context) error {
	if r.Store.Namespace == docker {
		return &exit.UsageError{
			Err:    fmt.Errorf("namespace %s is Docker's, and containerd does not know which of its images stopped containers use", docker),
			Remedy: "docker image prune knows it",
		}
	}
	uses, all, err := r.look(r.Store.Context(ctx))
	if err != nil {
		return err
	}
	stay := map[digest.Digest]bool{}
	for _, img := range all {
		stay[img.Target.Digest] = stay[img.Target.Digest] || uses.Of(img) != "" || isPinned(img)
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
		if err := r.remove(r.Store.Context(ctx), img); err != nil {
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

// remove removes a record, unless it points to something else by now. A daemon before
// 2.0 does not heed the target.
func (r *Removal) remove(ctx context.Context, img images.Image) error {
	now, err := r.Store.Image(ctx, img.Name)
	if err != nil || now == nil {
		return err
	}
	if now.Target.Digest == img.Target.Digest {
		err = r.Store.Images.Delete(ctx, img.Name, images.DeleteTarget(&img.Target))
		if !errdefs.IsNotFound(err) {
			return err
		}
		if now, err = r.Store.Image(ctx, img.Name); err != nil || now == nil {
			return err
		}
	}
	return &exit.UsageError{
		Err:    fmt.Errorf("it stays: it points to %s by now, and not to %s", now.Target.Digest, img.Target.Digest),
		Remedy: "look at it, and remove it again",
	}
}
