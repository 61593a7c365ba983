package main

import (
	"cmp"
	"os"
	"runtime/trace"

	"github.com/spf13/cobra"
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

// traced writes a trace of run to the file.
func traced(path string, run func() error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return usagef("--trace: %w", err)
	}
	defer func() { err = cmp.Or(err, asOutput(f.Close())) }()
	if err := trace.Start(f); err != nil {
		return usagef("--trace: %w", err)
	}
	defer trace.Stop()
	return run()
}
