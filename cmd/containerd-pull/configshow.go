package main

import (
	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

type configShowOptions struct {
	options
	format  string
	changed bool
}

func newConfigShowCmd(s streams, caller config.Caller) *cobra.Command {
	o := &configShowOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "show [flags] [REF]",
		Short:                 "Show every setting and where it comes from, as a pull of REF would see it",
		DisableFlagsInUseLine: true,
		Args:                  atMostOne,
		RunE:                  func(_ *cobra.Command, args []string) error { return runConfigShow(o, args) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.ShowSettings())
	cmd.Flags().BoolVar(&o.changed, "changed", false, "only what is set: not what is built in")
	addFormat(cmd, &o.format)
	return cmd
}

// resolveForSome is resolve for the image that is named, if any is.
func (o options) resolveForSome(args []string) (*config.Settings, *config.Config, error) {
	if len(args) == 0 {
		return o.resolve(source.Ref{})
	}
	settings, _, cfg, err := o.resolveFor(args[0])
	return settings, cfg, err
}

func runConfigShow(o *configShowOptions, args []string) error {
	settings, cfg, err := o.resolveForSome(args)
	if err != nil {
		return err
	}
	shown := output.NewConfig(cfg, settings, o.changed)
	return writeFormatted(o.streams.out, o.format, shown, shown.Write)
}
