// Command containerd-pull brings OCI images into containerd, ready to run.
//
// The command only wires. pkg/config resolves what is wanted, pkg/batch and
// pkg/pull do it, pkg/progress shows it, and internal/output writes the result.
//
// Each file holds one command. session.go holds what commands on images have in
// common, internal/exit the table of exit codes, help/*.md the help texts. pull.go is
// where to start reading.
package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/complete"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

const programName = exit.Program

func main() {
	ctx, stop := exit.CatchSignals(context.Background(), os.Exit)
	caller := config.ThisProcess()
	caller.Args = os.Args
	// What net/http logs by itself repeats what a server sent, secrets included.
	// What of it concerns the user is an error or an event.
	log.SetOutput(io.Discard)
	tune(caller)
	code := runAs(ctx, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, caller, filepath.Base(caller.Args[0]), caller.Args[1:])
	stop()
	os.Exit(code)
}

// tune sets GOMAXPROCS, GOGC and GOMEMLIMIT for pulls, unless the environment sets
// them.
//
// Unpacking keeps every CPU busy for milliseconds at a time. With one thread
// more than there are CPUs, the goroutines that read from registries and from
// the daemon are scheduled in between.
func tune(caller config.Caller) {
	if caller.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if caller.Getenv("GOGC") == "" {
		debug.SetGCPercent(gogcIdle)
	}
	if caller.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryIdle)
	}
}

// streams are the standard streams of a call. out carries the result and
// nothing else.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, s streams, caller config.Caller, args []string) int {
	return execute(ctx, newRootCmd(s, caller), s, caller, args)
}

func execute(ctx context.Context, root *cobra.Command, s streams, caller config.Caller, args []string) int {
	if complete.Asked(args) {
		complete.Add(root, complete.Options{Caller: caller, Topics: topicNames(), UserAgent: userAgent()})
	}
	var helped error // cobra takes none from a function that shows help
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { helped = showHelp(s.out, cmd) })
	root.SetArgs(append([]string{}, args...)) // cobra replaces nil by the arguments of the process
	err := cmp.Or(root.ExecuteContext(ctx), helped)
	if err == nil {
		return 0
	}
	if !exit.IsReported(err) {
		exit.Write(s.err, err, caller)
	}
	if changed, ok := errors.AsType[*exit.Changed](err); ok {
		return changed.Code
	}
	return exit.Code(err)
}
