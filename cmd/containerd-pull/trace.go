package main

import (
	"bytes"
	"cmp"
	"runtime/trace"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// addTrace gives the command the flag --trace FILE, which records what the
// runtime does meanwhile, for go tool trace: each pull and each layer is a task.
// The flag is hidden, as it serves those who work on the program; see
// docs/debugging.md.
func addTrace(cmd *cobra.Command) {
	path := cmd.Flags().String("trace", "", "`file` for go tool trace")
	cmd.Flags().Lookup("trace").Hidden = true
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *path == "" {
			return run(cmd, args)
		}
		return traced(*path, func() error { return run(cmd, args) })
	}
}

// traced writes a trace of run to the file, also if run fails. It is kept until
// then: run may replace the process.
func traced(path string, run func() error) error {
	if err := userfile.CheckWrite(path); err != nil {
		return exit.Usagef("--trace: %w", err)
	}
	var kept bytes.Buffer
	if err := trace.Start(&kept); err != nil {
		return exit.Usagef("--trace: %w", err)
	}
	failed := run()
	trace.Stop()
	return cmp.Or(failed, exit.AsOutput(userfile.Write(path, kept.Bytes(), 0o644)))
}
