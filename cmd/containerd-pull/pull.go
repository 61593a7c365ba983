package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
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
	jobs, err := parseRefs(args)
	if err != nil {
		return err
	}
	refs := refsOf(jobs)
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
	for i := range jobs {
		jobs[i].cfg = each[i]
	}
	b.jobs = jobs
	out, err := newOutput(o.streams.out, call, jobs, len(args))
	if err != nil {
		return err
	}
	return showPull(ctx, o, b, out)
}

// parseRefs makes a job of each reference and drops repetitions.
func parseRefs(args []string) ([]job, error) {
	var jobs []job
	seen := make(map[string]bool)
	for _, arg := range args {
		if strings.HasPrefix(arg, "ipfs://") || strings.HasPrefix(arg, "ipns://") {
			return nil, &schemeError{arg}
		}
		ref, err := source.ParseRef(arg)
		if err != nil {
			return nil, asUsage(err)
		}
		if key := ref.String(); !seen[key] {
			seen[key] = true
			jobs = append(jobs, job{ref: ref, typed: arg, untagged: ref.Digest == "" && !strings.HasSuffix(arg, ":"+ref.Tag)})
		}
	}
	return jobs, nil
}

func refsOf(jobs []job) []source.Ref {
	refs := make([]source.Ref, len(jobs))
	for i, j := range jobs {
		refs[i] = j.ref
	}
	return refs
}

func withTimeout(ctx context.Context, cfg *config.Config) (context.Context, context.CancelFunc) {
	if cfg.Timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, cfg.Timeout, &timeoutError{after: cfg.Timeout.String()})
}

// showPull pulls under a display and writes the result once that is closed, so
// that the two do not mix on a terminal.
func showPull(ctx context.Context, o *pullOptions, b *batch, out *output) error {
	picture, err := newTimeline(b.call.Timeline)
	if err != nil {
		return err
	}
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
	b.display, b.ledger = display, newLedger()
	b.sink = picture.watch(tee(thrift(o.caller), display.Sink(), b.ledger.note, out.sink()))
	defer routeLogs(display.Writer(), b.call)()
	err = picture.write(display.Writer(), b.run(ctx))
	if cerr := display.Close(); err == nil && cerr != nil {
		err = asOutput(cerr)
	}
	werr := out.write(b.outcomes)
	if err = cmp.Or(err, werr); err != nil {
		return err
	}
	if err := writeDigestFile(b.call.DigestFile, b.outcomes); err != nil {
		return err
	}
	return asChanged(b.call, b.outcomes)
}
