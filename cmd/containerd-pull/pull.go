package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
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
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPull(cmd.Context(), o, args, mistyped(cmd.Root(), args[0]))
		},
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
	writeUsage(cmd.ErrOrStderr(), cmd)
	return &usageError{err: fmt.Errorf("no reference given"), hint: "for example: " + programName + " alpine"}
}

// runPull pulls the references and writes the result.
func runPull(ctx context.Context, o *pullOptions, args, warnings []string) error {
	refs, err := parseRefs(args)
	if err != nil {
		return err
	}
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return asUsage(err)
	}
	call, each, err := settings.ResolveAll(refs)
	if err != nil {
		return asUsage(err)
	}
	if err := enterRootless(o.caller, each...); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, call)
	defer cancel()
	own, err := login(ctx, o.streams, call, refs)
	if err != nil {
		return err
	}
	b := &batch{call: call, caller: o.caller, own: own, warnings: append(warnings, settings.Warnings()...)}
	for i, ref := range refs {
		b.jobs = append(b.jobs, job{ref, each[i]})
	}
	return showPull(ctx, o, b)
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
func showPull(ctx context.Context, o *pullOptions, b *batch) error {
	display, err := progress.New(progress.Options{
		Mode:     b.call.Progress,
		Out:      o.streams.err,
		Quiet:    b.call.Quiet,
		Env:      o.caller.Getenv,
		Classify: describe,
	})
	if err != nil {
		return asUsage(err)
	}
	b.display, b.sink = display, display.Sink()
	defer routeLogs(display.Writer(), b.call)()
	err = b.run(ctx)
	if cerr := display.Close(); err == nil && cerr != nil {
		err = asOutput(cerr)
	}
	if werr := writeResults(o.streams.out, b.call, b.results); err == nil {
		err = werr
	}
	return err
}
