package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/enter"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/named"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
)

func newPullCmd(s streams, caller config.Caller) *cobra.Command {
	o := options{streams: s, caller: caller}
	dryRun := false
	cmd := &cobra.Command{
		Use:                   "pull [flags] REF [REF...]",
		Short:                 "Pull images, as without a command word",
		DisableFlagsInUseLine: true,
		Args:                  someReferences,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !dryRun {
				return runPull(cmd.Context(), o, args, adviceOf(cmd, args))
			}
			if err := refuseResultFlags(cmd.Flags()); err != nil {
				return err
			}
			return runPlan(cmd.Context(), o, args)
		},
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.Table())
	addDryRun(cmd, &dryRun)
	addTrace(cmd)
	return cmd
}

// newBatch opens a session for the images that a call names and makes their jobs. The
// caller closes the session.
func newBatch(ctx context.Context, o options, args []string) (context.Context, *session, *batch.Batch, error) {
	ctx, s, images, err := openImages(ctx, o, args)
	if err != nil {
		return ctx, nil, nil, err
	}
	if s.parts.Login, err = login(ctx, o.streams, s.call, s.refs); err != nil {
		s.close()
		return ctx, nil, nil, err
	}
	warnings := slices.Concat(enter.OwnWarnings(o.caller), images.Notes, s.refWarnings())
	return ctx, s, &batch.Batch{Jobs: images.Jobs, Parts: s.parts, Warnings: warnings, FailFast: s.call.FailFast}, nil
}

// openImages is openSession for the images that arguments and files name.
func openImages(ctx context.Context, o options, args []string) (context.Context, *session, named.Images, error) {
	var images named.Images
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return ctx, nil, images, exit.AsUsage(err)
	}
	lists, err := o.flags.Lists()
	if err != nil {
		return ctx, nil, images, exit.AsUsage(err)
	}
	images, err = named.Find(ctx, named.Options{Args: args, Lists: lists, Stdin: o.streams.in, Settings: settings, Lookup: o.caller.Lookup})
	if err != nil {
		return ctx, nil, images, err
	}
	s := &session{options: o, settings: settings}
	for _, j := range images.Jobs {
		s.refs, s.each = append(s.refs, j.Ref), append(s.each, j.Config)
	}
	if s.call, err = settings.OfCall(s.each); err != nil {
		return ctx, nil, images, exit.AsUsage(err)
	}
	if err := enter.KeepStdin(o.caller, images.Stdin); err != nil {
		return ctx, nil, images, err
	}
	ctx, s, err = s.enter(ctx)
	return ctx, s, images, err
}

// adviceOf returns which command may have been meant by the name of an official
// image, for the case that its pull fails. The command pull leaves no doubt.
func adviceOf(cmd *cobra.Command, args []string) string {
	if len(args) == 0 || cmd.HasParent() || strings.ContainsAny(args[0], "/:@") {
		return ""
	}
	return usage.Advice(cmd.Root(), args[0])
}

// runPull pulls the references and writes the result, and the advice if that
// fails.
func runPull(ctx context.Context, o options, args []string, advice string) error {
	ctx, s, b, err := newBatch(ctx, o, args)
	if err != nil {
		return err
	}
	defer s.close()
	out, err := output.NewPull(output.Options{
		Out: o.streams.out, Config: s.call, Jobs: b.Jobs, List: isList(s, args), Describe: exit.Describe, Failures: exit.Names(),
	})
	if err != nil {
		return exit.AsUsage(err)
	}
	err = showPull(ctx, s, b, out)
	if exit.IsReported(err) && exit.IsFailure(err) && advice != "" && s.call.Progress != display.ModeJSON {
		fmt.Fprintf(s.streams.err, "hint: %s\n", advice)
	}
	return err
}

// isList reports whether the call did not name one image in its arguments alone.
func isList(s *session, args []string) bool { return len(args) != 1 || !s.call.Lists.None() }

// showPull pulls under a display and writes the result once that is closed.
func showPull(ctx context.Context, s *session, b *batch.Batch, out *output.Pull) error {
	picture, err := newTimeline(s.call.Timeline)
	if err != nil {
		return err
	}
	if err := s.startDisplay(); err != nil {
		return err
	}
	s.parts.Progress = picture.watch(progress.Tee(s.parts.Progress, out.Sink()))
	var outcomes []batch.Outcome
	err = s.reportEach(b, func() (err error) {
		outcomes, err = b.Run(ctx)
		return err
	})
	err = picture.write(s.display.Writer(), err)
	if err == nil { // also where stdout or stderr turns out to be lost
		err = output.WriteDigestFile(s.call.DigestFile, outcomes)
	}
	err = s.endDisplay(err)
	werr := exit.AsOutput(out.Write(outcomes))
	if err = cmp.Or(err, werr); err != nil {
		return err
	}
	return asChanged(s.call, outcomes)
}

// reportEach does the work of a batch and reports each failure when it happens: as
// an event to readers of events, as lines to all others.
func (s *session) reportEach(b *batch.Batch, work func() error) error {
	reported := false
	b.OnError = func(err error) {
		reported = true
		if s.call.Progress != display.ModeJSON {
			exit.Write(s.display.Writer(), err, s.caller)
		}
	}
	err := work()
	if reported {
		err = exit.Reported(err)
	}
	return err
}

// asChanged returns how a successful call ends: with the code of
// --changed-exit-code if an image is new or has changed.
func asChanged(cfg *config.Config, all []batch.Outcome) error {
	for _, one := range all {
		if cfg.ChangedExitCode != 0 && one.Result.Changed {
			return exit.Reported(&exit.Changed{Code: cfg.ChangedExitCode})
		}
	}
	return nil
}
