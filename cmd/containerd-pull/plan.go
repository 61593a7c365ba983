package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

func newPlanCmd(s streams, caller config.Caller) *cobra.Command {
	o := options{streams: s, caller: caller}
	cmd := &cobra.Command{
		Use:                   "plan [flags] REF [REF...]",
		Short:                 "Show what a pull would fetch, unpack and need, and change nothing",
		DisableFlagsInUseLine: true,
		Args:                  someReferences,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runPlan(cmd.Context(), o, args) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.PlanSettings())
	return cmd
}

// addDryRun declares the flag that makes a plan of a pull.
func addDryRun(cmd *cobra.Command, dryRun *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "show what would be done, as the command plan does, and change nothing")
}

// refuseResultFlags refuses flags about the result of a pull where there is none.
func refuseResultFlags(fs *pflag.FlagSet) (err error) {
	planned := map[string]bool{}
	for _, s := range config.PlanSettings() {
		planned[s.Name()] = true
	}
	for _, s := range config.Table() {
		for _, f := range s.Flags {
			if !planned[s.Name()] && fs.Changed(f.Name) {
				err = cmp.Or(err, exit.Usagef("--%s has no effect with --dry-run: nothing is pulled", f.Name))
			}
		}
	}
	return err
}

// runPlan shows what the pull of the references would do.
func runPlan(ctx context.Context, o options, args []string) error {
	ctx, s, b, err := newBatch(ctx, o, args)
	if err != nil {
		return err
	}
	defer s.close()
	out, err := output.NewPlan(output.Options{Out: o.streams.out, Config: s.call, Jobs: b.Jobs, Describe: exit.Describe, Failures: exit.Names()})
	if err != nil {
		return exit.AsUsage(err)
	}
	if err := s.startDisplay(); err != nil {
		return err
	}
	var forecast batch.Forecast
	err = s.reportEach(b, func() (err error) {
		forecast, err = b.Plan(ctx)
		return err
	})
	err = s.endDisplay(err)
	if err = cmp.Or(err, exit.AsOutput(out.Write(forecast))); err != nil {
		return err
	}
	return concludePlan(s.call, forecast)
}

// concludePlan returns how a plan without exit.Names ends.
func concludePlan(call *config.Config, f batch.Forecast) error {
	if f.Misfit != nil {
		return &misfitError{f.Misfit}
	}
	for _, o := range f.Outcomes {
		if call.ChangedExitCode != 0 && !o.Outlook.Nothing {
			return exit.Reported(&exit.Changed{Code: call.ChangedExitCode})
		}
	}
	return nil
}

// misfitError is the error for a pull that would not fit. It would collect garbage
// first, which a plan does not.
type misfitError struct{ err error }

func (e *misfitError) Error() string {
	return fmt.Sprintf("the pull would not fit, unless what it removes of interrupted pulls makes room: %v", e.err)
}

func (e *misfitError) Unwrap() error { return e.err }
