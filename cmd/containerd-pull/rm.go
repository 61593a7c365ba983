package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/remove"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/terminal"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type rmOptions struct {
	options
	format string
	force  bool
	prune  bool
	yes    bool
}

func newRmCmd(s streams, caller config.Caller) *cobra.Command {
	o := &rmOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "rm [flags] REF [REF...] | --prune",
		Short:                 "Remove images",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.refuse(cmd, args); err != nil {
				return err
			}
			return runRm(cmd.Context(), o, args)
		},
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.ImageSettings())
	cmd.Flags().BoolVar(&o.force, "force", false, "also what a container uses, what is pinned, and some of the names that CRI has for an image")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "all images that no container uses and that are not pinned, after asking")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "with --prune: do not ask")
	addFormat(cmd, &o.format)
	return cmd
}

// refuse refuses calls that name no image, and flags that would have no effect.
func (o *rmOptions) refuse(cmd *cobra.Command, args []string) error {
	switch {
	case o.prune && (len(args) > 0 || o.force):
		return exit.Usagef("--prune removes what is not needed: it goes with no image and without --force")
	case o.yes && !o.prune:
		return exit.Usagef("--yes has no effect without --prune: nothing is asked")
	case !o.prune && len(args) == 0:
		return &exit.UsageError{Err: errors.New("no image is named"), Remedy: cmd.Root().DisplayName() + " images lists those that are there"}
	}
	return checkFormat(o.format)
}

// runRm removes all images, or none if one of them is not there or is to stay.
func runRm(ctx context.Context, o *rmOptions, args []string) error {
	ctx, s, err := openSession(ctx, o.options, args)
	if err != nil {
		return err
	}
	defer s.close()
	o.warn(s.settings.Warnings()...)
	shown := output.Removed{SchemaVersion: 1, Removed: []string{}}
	err = o.removeAll(ctx, s, args, &shown)
	if err = errors.Join(err, s.parts.Close()); err != nil && len(shown.Removed) == 0 {
		return store.WithCause(ctx, err)
	}
	return errors.Join(err, writeFormatted(o.streams.out, o.format, shown, shown.Write))
}

// removeAll judges all before it removes any. One store is open at a time, so that
// those of several are opened again.
func (o *rmOptions) removeAll(ctx context.Context, s *session, args []string, shown *output.Removed) error {
	var todo []*remove.Removal
	parts := s.stores(args)
	for _, names := range parts {
		r, err := o.removal(ctx, s, names)
		if err != nil {
			return err
		}
		todo = append(todo, r)
	}
	for i, r := range todo {
		var err error
		if r.Store, err = s.existingStore(ctx, s.configOf(parts[i]).Store, false); err != nil {
			return err
		}
		if err := r.Run(ctx, shown); err != nil {
			return err
		}
	}
	return nil
}

// removal finds what is to be removed from the store of names.
func (o *rmOptions) removal(ctx context.Context, s *session, names []wanted) (*remove.Removal, error) {
	cfg := s.configOf(names)
	st, err := s.existingStore(ctx, cfg.Store, false)
	if err != nil {
		return nil, err
	}
	r := &remove.Removal{Store: st, Root: cfg.Store.Root != ""}
	if o.prune {
		return r, o.agree(ctx, r)
	}
	if r.Images, err = recordsOf(ctx, st, names); err != nil || o.force {
		return r, err
	}
	return r, r.Judge(ctx)
}

// agree asks whether what is unused may go. What is agreed to is shown where it is
// asked: stderr may be a file.
func (o *rmOptions) agree(ctx context.Context, r *remove.Removal) error {
	if err := r.FindUnused(ctx); err != nil || len(r.Images) == 0 || o.yes {
		return err
	}
	var names []string
	for _, img := range r.Images {
		names = append(names, printable.Line(img.Name))
	}
	few := progress.Plural(len(names), "image")
	list := fmt.Sprintf("No container uses, and the kubelet does not keep:\n  %s\n", strings.Join(names, "\n  "))
	answer, err := terminal.Ask(ctx, list+"Remove "+few+"? [y/N] ")
	if errors.Is(err, terminal.ErrNone) {
		fmt.Fprint(o.streams.err, list)
	}
	if err != nil {
		return noTerminal(err, few+" would be removed, and there is no terminal to ask on", "--yes removes without asking")
	}
	if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return exit.Usagef("nothing was removed")
	}
	return r.Confirm(ctx)
}
