// Command containerd-pull brings OCI images into containerd, ready to run.
//
// The command only wires: pkg/config finds out what is wanted, pkg/store,
// pkg/registry and pkg/pull do it, pkg/progress shows it. Each file of the
// package holds one command; exit.go holds the table of exit codes and hints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
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

// The shares of the memory in use by which it grows before it is collected. What
// starts and looks is soon over and needs little. Where layers come, nearly all of
// it is large buffers, which cost the collector nothing to look at.
const (
	looking = 800 // %: not below 32 MiB
	pulling = 50
)

// tune fits the runtime to what pulls are like, unless the environment says
// otherwise. The unpacks keep every CPU busy for milliseconds at a time; with one
// thread more than CPUs, bytes that arrive meanwhile and a daemon's answers need
// not wait for one of them to pause.
func tune(caller config.Caller) {
	if caller.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if caller.Getenv("GOGC") == "" {
		debug.SetGCPercent(looking)
	}
}

// thrift has memory collected more often from the first layer on.
func thrift(caller config.Caller) progress.Sink {
	if caller.Getenv("GOGC") != "" {
		return func(progress.Event) {}
	}
	begin := sync.OnceFunc(func() { debug.SetGCPercent(pulling) })
	return func(e progress.Event) {
		if e.Kind == progress.FetchStart || e.Kind == progress.UnpackStart {
			begin()
		}
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
	if asksForCandidates(args) {
		addCandidates(root, caller)
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

// reportedError is a failure that the user has been told of.
type reportedError struct{ error }

func (e *reportedError) Unwrap() error { return e.error }

// writeError tells of a failure: one line, and a hint if there is one.
func writeError(w io.Writer, err error, caller config.Caller) {
	fmt.Fprintf(w, "%s: %v\n", programName, err)
	if hint := hintFor(err, caller); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// usageError is a command line or a configuration that cannot be followed.
type usageError struct {
	err  error
	hint string // empty for the one of the class
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// asUsage makes err a usageError, unless it is nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err}
}

// noArgs refuses arguments where none has a meaning.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument: got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
