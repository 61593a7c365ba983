package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type rmOptions struct {
	options
	format string
	force  bool
}

func newRmCmd(s streams, caller config.Caller) *cobra.Command {
	o := &rmOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "rm [flags] REF [REF...]",
		Short:                 "Remove images",
		DisableFlagsInUseLine: true,
		Args:                  someImages,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runRm(cmd.Context(), o, args) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.ImageSettings())
	cmd.Flags().BoolVar(&o.force, "force", false, "also what a container uses, what is pinned, and some of the names that CRI has for an image")
	addFormat(cmd, &o.format)
	return cmd
}

func someImages(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return &exit.UsageError{Err: errors.New("no image is named"), Remedy: cmd.Root().DisplayName() + " images lists those that are there"}
	}
	return nil
}

// runRm removes all images, or none if one of them is not there or is to stay.
func runRm(ctx context.Context, o *rmOptions, args []string) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	ctx, s, err := openSession(ctx, o.options, imageRefs(args))
	if err != nil {
		return err
	}
	defer s.close()
	o.warn(s.settings.Warnings()...)
	shown := output.Removed{SchemaVersion: 1, Removed: []string{}}
	var todo []*removal
	for _, names := range s.stores(args) {
		r := &removal{force: o.force}
		if err = r.find(ctx, s, names); err != nil {
			break
		}
		todo = append(todo, r)
	}
	for _, r := range todo {
		if err == nil {
			err = r.run(ctx, &shown)
		}
	}
	if err = errors.Join(err, s.parts.Close()); err != nil && len(shown.Removed) == 0 {
		return store.WithCause(ctx, err)
	}
	return errors.Join(err, writeFormatted(o.streams.out, o.format, shown, shown.Write))
}

// removal is the removal of images from one store.
type removal struct {
	st    *store.Store
	imgs  []images.Image
	root  bool
	force bool
}

func (r *removal) find(ctx context.Context, s *session, names []wanted) (err error) {
	cfg := s.configOf(names)
	r.root = cfg.Store.Root != ""
	if r.st, err = s.existingStore(ctx, cfg.Store, false); err != nil {
		return err
	}
	if r.imgs, err = recordsOf(ctx, r.st, names); err != nil || r.force {
		return err
	}
	return r.judge(r.st.Context(ctx))
}

// judge refuses what is to stay without --force.
func (r *removal) judge(ctx context.Context) error {
	used, err := r.st.Containers.List(ctx)
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	all, err := r.st.Images.List(ctx)
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	for _, img := range r.imgs {
		why := ""
		for _, c := range used {
			if c.Image == img.Name {
				why = fmt.Sprintf("container %s uses it", c.ID)
			}
		}
		if img.Labels[output.LabelPinned] == output.PinnedValue {
			why = "it is pinned"
		}
		if others := r.othersOfCRI(img, all); len(others) > 0 {
			why = "it is one of the names that CRI has for it, beside " + strings.Join(others, ", ")
		}
		if why != "" {
			return &exit.UsageError{Err: fmt.Errorf("image %s stays: %s", img.Name, why), Remedy: "--force removes it all the same"}
		}
	}
	return nil
}

// othersOfCRI lists the names that CRI has for the same image and that are to stay:
// it would show half an image.
func (r *removal) othersOfCRI(img images.Image, all []images.Image) (others []string) {
	const label, managed = "io.cri-containerd.image", "managed"
	if img.Labels[label] != managed {
		return nil
	}
	for _, other := range all {
		goes := slices.ContainsFunc(r.imgs, func(i images.Image) bool { return i.Name == other.Name })
		if !goes && other.Target.Digest == img.Target.Digest && other.Labels[label] == managed {
			others = append(others, other.Name)
		}
	}
	return others
}

// run removes the records. A daemon collects in its own time what only they kept; a
// root has no other collector.
func (r *removal) run(ctx context.Context, shown *output.Removed) error {
	for _, img := range r.imgs {
		if slices.Contains(shown.Removed, img.Name) { // it was named twice
			continue
		}
		if err := r.st.Images.Delete(r.st.Context(ctx), img.Name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing %s: %w", img.Name, err)
		}
		shown.Removed = append(shown.Removed, img.Name)
	}
	if r.root {
		if err := r.st.Collect(ctx, store.GarbageNow); err != nil {
			return err
		}
	}
	return r.st.Flush()
}
