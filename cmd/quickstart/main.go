//go:build linux

// Quickstart shows containerd-pull at work on a machine that has nothing but Go:
//
//	go run ./cmd/quickstart
//
// It starts a registry on loopback, pulls an image from it with the real
// pipeline into an embedded root in a temporary folder, and shows what is there
// afterwards. It needs no network, no containerd and no root: an ordinary user
// becomes root of a user namespace of its own, see rootless.go. The story is
// told in story.go and show.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/log"

	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a reader that leaves, such as head, must not prevent the clean-up
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	keep     bool
	serve    bool
	progress string
}

// errUsage is an error that the flag set has reported already.
var errUsage = errors.New("usage")

// run returns the exit code.
func run(ctx context.Context, args []string, out io.Writer, errOut *os.File) int {
	o, err := parse(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	userns.CloseInherited(os.Getenv(inherited))
	if !userns.MayMount() {
		return enterNamespace(args, errOut)
	}
	// Warnings of containerd's packages, for example about a file system without
	// fs-verity, do not matter here.
	if err := log.SetLevel("error"); err != nil {
		fmt.Fprintf(errOut, "quickstart: %v\n", err)
		return 1
	}
	if err := tell(ctx, o, out, errOut); err != nil {
		fmt.Fprintf(errOut, "quickstart: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.BoolVar(&o.keep, "keep", false, "keep the temporary folder")
	flags.BoolVar(&o.serve, "serve", false, "keep the registry and the folder until Ctrl-C")
	flags.StringVar(&o.progress, "progress", display.ModeAuto, "how to show progress: auto, tty, plain, json or none")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, errUsage
	case flags.NArg() > 0:
		fmt.Fprintf(errOut, "unexpected argument %q\n", flags.Arg(0))
		return o, errUsage
	}
	if err := (display.Options{Mode: o.progress, Out: errOut}).Validate(); err != nil {
		fmt.Fprintln(errOut, err)
		return o, errUsage
	}
	return o, nil
}
