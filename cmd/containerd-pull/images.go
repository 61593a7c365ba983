package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type imagesOptions struct {
	options
	format string
}

func newImagesCmd(s streams, caller config.Caller) *cobra.Command {
	o := &imagesOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "images [flags] [REF...]",
		Short:                 "List the images that are there: those named, or all of the namespace",
		DisableFlagsInUseLine: true,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runImages(cmd.Context(), o, args) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.ImageSettings())
	cmd.Flags().StringVar(&o.format, "format", "", "`form` of the list: json, table, or a template such as {{.name}} for each image")
	return cmd
}

func runImages(ctx context.Context, o *imagesOptions, args []string) error {
	form, err := output.NewImagesForm(o.format)
	if err != nil {
		return exit.AsUsage(err)
	}
	ctx, s, err := openSession(ctx, o.options, args)
	if err != nil {
		return err
	}
	defer s.close()
	o.warn(s.settings.Warnings()...)
	shown := output.Images{SchemaVersion: 1, Images: []output.Image{}}
	for _, names := range s.stores(args) {
		if err := listStore(ctx, s, names, &shown); err != nil {
			return store.WithCause(ctx, errors.Join(err, s.parts.Close()))
		}
	}
	if err := s.parts.Close(); err != nil {
		return err
	}
	if s.call.Quiet && o.format == "" {
		for _, img := range shown.Images {
			if _, err := fmt.Fprintln(o.streams.out, img.Name); err != nil {
				return exit.AsOutput(err)
			}
		}
		return nil
	}
	if err := form.Write(o.streams.out, shown, time.Now()); err != nil {
		return exit.AsOutput(err)
	}
	if !s.call.Quiet && o.format == "" {
		fmt.Fprintln(o.streams.err, printable.Line(shown.Summary()))
	}
	return nil
}

// stores parts the images of the arguments by the store that they are in; without
// arguments it is that of the call, and all of its images.
func (s *session) stores(args []string) [][]wanted {
	if len(args) == 0 {
		return [][]wanted{nil}
	}
	var all []wanted
	for i, cfg := range s.each {
		all = append(all, wanted{args[i], s.refs[i], cfg})
	}
	return byStore(all)
}

// configOf is the configuration of images in one store.
func (s *session) configOf(names []wanted) *config.Config {
	if len(names) == 0 {
		return s.call
	}
	return names[0].cfg
}

func listStore(ctx context.Context, s *session, names []wanted, into *output.Images) error {
	st, err := s.existingStore(ctx, s.configOf(names).Store, true)
	if err != nil {
		return err
	}
	imgs, err := recordsOf(ctx, st, names)
	if err != nil {
		return err
	}
	held, err := st.Holdings(ctx, imgs)
	if err != nil {
		return err
	}
	into.Add(st, held)
	return nil
}
