package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/watch"
)

// shortestInterval is the least time between two looks, so that looking is no load
// for the daemon.
const shortestInterval = 100 * time.Millisecond

type watchOptions struct {
	options
	format   string
	once     bool
	interval time.Duration
}

func newWatchCmd(s streams, caller config.Caller) *cobra.Command {
	o := &watchOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "watch [flags]",
		Short:                 "Show what all clients of a containerd are pulling, without touching it",
		DisableFlagsInUseLine: true,
		Args:                  noArgs,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return runWatch(cmd.Context(), o) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.WatchSettings())
	cmd.Flags().BoolVar(&o.once, "once", false, "look twice, one interval apart, show what is seen, and end")
	cmd.Flags().DurationVar(&o.interval, "interval", time.Second, "`time` between two looks")
	addFormat(cmd, &o.format)
	return cmd
}

// runWatch shows pulls until it is interrupted, which is how a watch ends well.
func runWatch(ctx context.Context, o *watchOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	if o.interval < shortestInterval {
		return exit.Usagef("--interval: got %s, want at least %s", o.interval, shortestInterval)
	}
	ctx, s, err := openSession(ctx, o.options, nil)
	if err != nil {
		return err
	}
	defer s.close()
	if s.call.Store.Root != "" {
		return exit.Usagef("watch looks at a running containerd, and root is set by %s", s.call.Origin("root"))
	}
	o.warn(s.settings.Warnings()...)
	seen, err := daemon.Observe(ctx, s.call.Store)
	if err != nil {
		return err
	}
	w := &watch.Watcher{Daemon: seen, Interval: o.interval, Timeout: s.call.Store.ConnectTimeout, Warn: func(m string) { o.warn(m) }}
	err = o.show(ctx, s, w)
	if stop, ok := errors.AsType[*exit.SignalError](err); ok && stop.Signal == os.Interrupt {
		err = nil
	}
	return errors.Join(err, seen.Close())
}

// show writes what w sees to stdout, in the form that was asked for.
func (o *watchOptions) show(ctx context.Context, s *session, w *watch.Watcher) error {
	idle := idleNote{o.options, s.call.Quiet, false}
	if o.once {
		pulls, err := w.Once(ctx)
		if err != nil {
			return err
		}
		shown := output.NewWatch(time.Now(), pulls)
		idle.tell(o.format == "" && len(pulls) == 0)
		return writeFormatted(o.streams.out, o.format, shown, shown.Write)
	}
	screen := display.Options{Mode: display.ModeAuto, Out: o.streams.out, Env: o.caller.Getenv}
	if o.format == "" && screen.Redraws() {
		return o.redraw(ctx, w, screen)
	}
	return w.Run(ctx, func(pulls []watch.Pull) error {
		shown := output.NewWatch(time.Now(), pulls)
		if o.format != "" {
			return exit.AsOutput(output.Line(o.streams.out, shown))
		}
		idle.tell(len(pulls) == 0)
		return exit.AsOutput(output.Text(o.streams.out, shown.Write))
	})
}

// redraw shows pulls in a region of the terminal.
func (o *watchOptions) redraw(ctx context.Context, w *watch.Watcher, screen display.Options) error {
	d, err := display.New(screen)
	if err != nil {
		return err
	}
	w.Progress = d.Sink()
	w.Warn = func(m string) { w.Progress.Emit(progress.Event{Kind: progress.Warning, Message: m}) }
	idle := true
	err = w.Run(ctx, func(pulls []watch.Pull) error {
		if idle && len(pulls) == 0 {
			fmt.Fprintln(d.Writer(), nothingFetched+"; Ctrl-C ends")
		}
		idle = false
		return nil
	})
	if cerr := d.Close(); cerr != nil {
		return exit.AsOutput(cerr)
	}
	return err
}

const nothingFetched = "nothing is being fetched"

// idleNote says on stderr that there is nothing to show, once until there is.
type idleNote struct {
	options
	quiet, told bool
}

func (n *idleNote) tell(idle bool) {
	if idle && !n.told && !n.quiet {
		fmt.Fprintln(n.streams.err, nothingFetched)
	}
	n.told = idle
}
