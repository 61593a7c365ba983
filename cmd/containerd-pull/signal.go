package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalError is the cause of a call that a signal ended.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string {
	name := e.signal.String()
	if s, ok := e.signal.(syscall.Signal); ok {
		name = unix.SignalName(s)
	}
	return "interrupted by " + name
}

// catchSignals gives a context that the first SIGINT, SIGTERM or SIGHUP
// cancels. The second one ends the process by way of exit, for whoever does not
// want to wait for the cleaning up. The returned function ends the catching.
func catchSignals(ctx context.Context, exit func(int)) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A reader that closed our output is an error to report. Notify, unlike
	// Ignore, is undone in the programs that we start.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)

	var done sync.WaitGroup
	done.Go(func() {
		var first *signalError
		for s := range caught {
			if first != nil {
				exit(classify(first).code)
			}
			first = &signalError{s}
			cancel(first)
		}
	})
	return ctx, func() {
		signal.Stop(caught)
		signal.Stop(pipe)
		close(caught)
		done.Wait()
		cancel(nil)
	}
}
