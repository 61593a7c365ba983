package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type gcOptions struct {
	options
	format string
	dryRun bool
}

func newGCCmd(s streams, caller config.Caller) *cobra.Command {
	o := &gcOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "gc [flags]",
		Short:                 "Remove what interrupted pulls left, and with --root what no image needs",
		DisableFlagsInUseLine: true,
		Args:                  noArgs,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return runGC(cmd.Context(), o) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.GCSettings())
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "tell what would be removed and remove nothing")
	addFormat(cmd, &o.format)
	return cmd
}

func runGC(ctx context.Context, o *gcOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	ctx, s, err := openSession(ctx, o.options, nil)
	if err != nil {
		return err
	}
	defer s.close()
	o.warn(s.settings.Warnings()...)
	st, err := s.existingStore(ctx, s.call.Store, o.dryRun)
	if err != nil {
		return err
	}
	freed, err := st.GC(ctx, o.dryRun)
	if err = cmp.Or(err, s.parts.Close()); err != nil {
		return store.WithCause(ctx, err)
	}
	shown := output.NewFreed(freed, o.dryRun)
	return writeFormatted(o.streams.out, o.format, shown, shown.Write)
}
