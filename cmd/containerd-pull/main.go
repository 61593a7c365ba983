// Command containerd-pull brings OCI images into containerd, ready to run.
//
// The command only wires: pkg/config finds out what is wanted, pkg/store,
// pkg/registry and pkg/pull do it, pkg/progress shows it. Each file of the
// package holds one command; exit.go holds the table of exit codes and hints.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/complete"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

const programName = "containerd-pull"

func main() {
	ctx, stop := catchSignals(context.Background(), os.Exit)
	caller := config.ThisProcess()
	tune(caller)
	code := runAs(ctx, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, caller, filepath.Base(os.Args[0]), os.Args[1:])
	stop()
	os.Exit(code)
}

// tune fits the runtime to what pulls are like, unless the environment says
// otherwise. The unpacks keep every CPU busy for milliseconds at a time; with one
// thread more than CPUs, bytes that arrive meanwhile and a daemon's answers need
// not wait for one of them to pause.
func tune(caller config.Caller) {
	if caller.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if caller.Getenv("GOGC") == "" {
		debug.SetGCPercent(gogcIdle)
	}
}

// streams are where a call reads and writes. stdout carries the result and
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
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for those of the process
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var told *reportedError
	if !errors.As(err, &told) {
		writeError(s.err, err, caller)
	}
	if changed, ok := errors.AsType[*changedExit](err); ok {
		return changed.code
	}
	return classify(err).code
}
