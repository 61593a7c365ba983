package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type pullOptions struct {
	streams streams
	caller  config.Caller
	flags   *config.Flags
}

func newPullCmd(s streams, caller config.Caller) *cobra.Command {
	o := &pullOptions{streams: s, caller: caller}
	cmd := &cobra.Command{
		Use:                   "pull [flags] REF [REF...]",
		Short:                 "Pull images, as without a command word",
		DisableFlagsInUseLine: true,
		Args:                  someReferences,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runPull(cmd.Context(), o, args) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.Table())
	return cmd
}

// someReferences shows the usage to whoever typed nothing to pull.
func someReferences(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	if err := writeUsage(cmd); err != nil {
		return asOutput(err)
	}
	return &usageError{err: fmt.Errorf("no reference given"), hint: "for example: " + programName + " alpine"}
}

// runPull pulls the references and writes the result.
func runPull(ctx context.Context, o *pullOptions, args []string) error {
	cfg, err := o.resolve()
	if err != nil {
		return err
	}
	refs, err := parseRefs(args)
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, cfg)
	defer cancel()
	cfg.Registry.Credentials, err = login(ctx, o.streams, cfg, refs)
	if err != nil {
		return err
	}
	return showPull(ctx, o, cfg, refs)
}

func (o *pullOptions) resolve() (*config.Config, error) {
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return nil, asUsage(err)
	}
	cfg, err := settings.Resolve()
	return cfg, asUsage(err)
}

// parseRefs parses the references and drops repetitions.
func parseRefs(args []string) ([]registry.Ref, error) {
	var refs []registry.Ref
	seen := make(map[string]bool)
	for _, arg := range args {
		ref, err := registry.ParseRef(arg)
		if err != nil {
			return nil, asUsage(err)
		}
		if key := ref.String(); !seen[key] {
			seen[key] = true
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

func withTimeout(ctx context.Context, cfg *config.Config) (context.Context, context.CancelFunc) {
	if cfg.Timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, cfg.Timeout, &timeoutError{after: cfg.Timeout.String()})
}

// showPull pulls under a display and writes the result once that is closed, so
// that the two do not mix on a terminal.
func showPull(ctx context.Context, o *pullOptions, cfg *config.Config, refs []registry.Ref) error {
	display, err := progress.New(progress.Options{
		Mode:     cfg.Progress,
		Out:      o.streams.err,
		Quiet:    cfg.Quiet,
		Env:      o.caller.Getenv,
		Classify: describe,
	})
	if err != nil {
		return asUsage(err)
	}
	b := &batch{cfg: cfg, display: display, sink: display.Sink(), refs: refs}
	defer routeLogs(display.Writer(), cfg)()
	err = b.run(ctx)
	if cerr := display.Close(); err == nil && cerr != nil {
		err = asOutput(cerr)
	}
	if werr := writeResults(o.streams.out, cfg, b.results); err == nil {
		err = werr
	}
	return err
}

func openStore(ctx context.Context, o store.Options) (*store.Store, error) {
	if o.Root != "" {
		return store.Open(ctx, o)
	}
	return store.Dial(ctx, o)
}

// openRegistry gives the display what the registry has to say.
func openRegistry(cfg *config.Config, display *progress.Display) (*registry.Registry, error) {
	opts := cfg.Registry
	opts.UserAgent = programName + "/" + buildVersion()
	opts.Notify = notify(display.Sink())
	if cfg.HTTPDump {
		opts.Dump = display.Writer()
	}
	if cfg.HTTPTrace {
		opts.Trace = display.Writer()
	}
	reg, err := registry.New(opts)
	return reg, asUsage(err)
}

// puller gathers what a pull needs.
func (b *batch) puller(ctx context.Context) (*pull.Puller, error) {
	reg, err := openRegistry(b.cfg, b.display)
	if err != nil {
		return nil, err
	}
	st, err := openStore(ctx, b.cfg.Store)
	if err != nil {
		return nil, err
	}
	return &pull.Puller{Store: st, Registry: reg, Progress: b.sink, Limits: b.cfg.Limits, Version: buildVersion()}, nil
}
