package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type gcOptions struct {
	streams streams
	caller  config.Caller
	flags   *config.Flags
	format  string
	dryRun  bool
}

func newGCCmd(s streams, caller config.Caller) *cobra.Command {
	o := &gcOptions{streams: s, caller: caller}
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
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return asUsage(err)
	}
	cfg, err := settings.Resolve(source.Ref{})
	if err != nil {
		return asUsage(err)
	}
	if err := enterRootless(o.caller, cfg); err != nil {
		return err
	}
	defer routeLogs(o.streams.err, cfg)()
	ctx, cancel := withTimeout(ctx, cfg)
	defer cancel()
	b := &batch{call: cfg, caller: o.caller}
	if err := b.openExisting(ctx, cfg.Store); err != nil {
		return err
	}
	freed, err := b.store.GC(ctx, o.dryRun)
	if cerr := b.closeStore(); err == nil {
		err = cerr
	}
	if err != nil {
		return asInterrupted(ctx, err)
	}
	shown := showFreed(freed, o.dryRun)
	return writeFormatted(o.streams.out, o.format, shown, shown.write)
}

// openExisting is openStore for commands that have nothing to do in a root that
// is not there, and must not make one.
func (b *batch) openExisting(ctx context.Context, o store.Options) error {
	if o.Root != "" {
		if _, err := os.Stat(o.Root); err != nil {
			return usagef("--root: %w", err)
		}
	}
	return b.openStore(ctx, o)
}

// asInterrupted says why a call ended whose context has: a daemon knows no more
// than that it was cancelled.
func asInterrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// shownFreed is the result of gc in JSON. The names are API.
type shownFreed struct {
	SchemaVersion int      `json:"schemaVersion"`
	DryRun        bool     `json:"dryRun"`
	Leases        []string `json:"leases"`
	Ingests       shownSum `json:"ingests"`
	Blobs         shownSum `json:"blobs"`
	Snapshots     shownSum `json:"snapshots"`
	Running       int      `json:"running"` // leases left to pulls that run
}

type shownSum struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

func showFreed(f store.Freed, dryRun bool) shownFreed {
	return shownFreed{
		SchemaVersion: 1, DryRun: dryRun, Leases: append([]string{}, f.Leases...),
		Ingests: shownSum(f.Ingests), Blobs: shownSum(f.Blobs), Snapshots: shownSum(f.Snapshots), Running: f.Running,
	}
}

func (f shownFreed) write(w io.Writer) {
	freed := "freed"
	if f.DryRun {
		freed = "would free"
	}
	fmt.Fprintf(w, "%s %s, %s, %s, %s\n", freed,
		counted(len(f.Leases), "lease"), f.Ingests.text("ingest"), f.Blobs.text("blob"), f.Snapshots.text("snapshot"))
	if f.Running > 0 {
		fmt.Fprintf(w, "left %s to pulls that are running\n", counted(f.Running, "lease"))
	}
}

func (s shownSum) text(what string) string {
	if s.Count == 0 {
		return counted(0, what)
	}
	return fmt.Sprintf("%s (%s)", counted(s.Count, what), progress.Size(s.Bytes))
}

// counted is "1 lease" or "2 leases".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
