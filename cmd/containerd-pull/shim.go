package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

// newShimCmd is about the program that stands in front of nerdctl where shell
// functions do not reach: under sudo, in scripts, in systemd's units.
func newShimCmd(s streams, caller config.Caller) *cobra.Command {
	sub := func(use, short string, args cobra.PositionalArgs, run func(plugin.Program, []string) error) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, DisableFlagsInUseLine: true, Args: args,
			RunE: func(_ *cobra.Command, args []string) error {
				p, err := plugin.ThisProgram()
				if err != nil {
					return err
				}
				return run(p, args)
			},
		}
	}
	in := " [DIR]"
	return newGroupCmd("shim", "Put a program in front of nerdctl that knows "+plugin.Word,
		sub("install"+in, "Make the link nerdctl in DIR, by default "+plugin.DefaultShimDir, atMostOne, func(p plugin.Program, args []string) error {
			return installShim(s, caller, p, shimDir(args))
		}),
		sub("remove"+in, "Remove it", atMostOne, func(p plugin.Program, args []string) error {
			file, err := p.Remove(shimDir(args))
			if err != nil {
				return shimError(file, err)
			}
			_, err = fmt.Fprintln(s.out, file)
			return asOutput(err)
		}),
		sub("status", "Tell which nerdctl is found first and which one is executed", noArgs, func(p plugin.Program, _ []string) error {
			return showShim(s, caller, p)
		}))
}

func shimDir(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return plugin.DefaultShimDir
}

// shimError says what to do about a shim that cannot be made or removed.
func shimError(file string, err error) error {
	if foreign, ok := errors.AsType[*plugin.ForeignError](err); ok {
		return asUsage(foreign)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &usageError{fmt.Errorf("%s: %w", file, fs.ErrNotExist), "name the folder: shim install DIR, shim remove DIR"}
	}
	if errors.Is(err, fs.ErrPermission) {
		return &usageError{err, "run it with sudo, or name a folder of your own that stands early on PATH"}
	}
	return err
}

// installShim names the shim that it made, and warns where another nerdctl
// would be found before it.
func installShim(s streams, caller config.Caller, p plugin.Program, dir string) error {
	file, err := p.Install(dir, shimTarget(p))
	if err != nil {
		return shimError(file, err)
	}
	status := p.Status(caller.Getenv("PATH"))
	switch {
	case !status.Shim:
		fmt.Fprintf(s.err, "%s: warning: PATH leads to %s first\n", programName, orNone(status.First))
	case status.Next == "":
		fmt.Fprintf(s.err, "%s: warning: there is no nerdctl on PATH to execute\n", programName)
	}
	_, err = fmt.Fprintln(s.out, file)
	return asOutput(err)
}

// shimTarget is the path under which the program is found, if it is: an update
// may replace what that leads to.
func shimTarget(p plugin.Program) string {
	if path, err := exec.LookPath(programName); err == nil && p.Is(path) {
		return path
	}
	return p.Path
}

func showShim(s streams, caller config.Caller, p plugin.Program) error {
	status := p.Status(caller.Getenv("PATH"))
	what := "not the shim"
	if status.Shim {
		what = "the shim, which is " + p.Path
	}
	_, err := fmt.Fprintf(s.out, "first     %s (%s)\nexecuted  %s\n", orNone(status.First), what, orNone(status.Next))
	if err == nil && !status.Shim {
		return &reportedError{errors.New("the shim is not the nerdctl that is found first")}
	}
	return asOutput(err)
}

func orNone(path string) string {
	if path == "" {
		return "none"
	}
	return path
}

// envShims counts the shims that have become a nerdctl on the way to this
// process. Programs in between may call nerdctl again, and a few do with good
// reason.
const (
	envShims = "CONTAINERD_PULL_SHIMS"
	maxShims = 16
)

// runShim is the program under the name of nerdctl. What is not ours becomes
// nerdctl itself, under its real path: nerdctl may execute its own command line
// once more, in other namespaces, and must not come back to us then.
func runShim(ctx context.Context, s streams, caller config.Caller, args []string) int {
	call := plugin.Parse(args)
	if call.IsPull {
		return runInvocation(ctx, s, caller, invocation{display: plugin.Name + " " + plugin.Word}, call.Args)
	}
	for _, c := range call.Candidates {
		fmt.Fprintln(s.out, c)
	}
	err := becomeNerdctl(caller, args)
	writeError(s.err, err, caller)
	return classify(err).code
}

// becomeNerdctl returns only if it fails.
func becomeNerdctl(caller config.Caller, args []string) error {
	shims, _ := strconv.Atoi(caller.Getenv(envShims))
	if shims >= maxShims {
		return usagef("nerdctl on PATH comes back to the shim again and again: see containerd-pull shim status")
	}
	p, err := plugin.ThisProgram()
	if err != nil {
		return err
	}
	next, err := p.Next(caller.Getenv("PATH"))
	if err != nil {
		return asUsage(err)
	}
	env := append(slices.Clone(caller.Environ), envShims+"="+strconv.Itoa(shims+1))
	return fmt.Errorf("executing %s: %w", next, syscall.Exec(next, append([]string{next}, args...), env))
}
