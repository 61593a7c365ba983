package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

// newShimCmd installs, removes and shows the program under the name nerdctl, in
// front of nerdctl on PATH. It works where shell functions do not: under sudo,
// in scripts, in units of systemd.
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
			_, err = fmt.Fprintln(s.out, printable.Line(file))
			return exit.AsOutput(err)
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

// shimError adds a hint to the error of a shim that could not be made or
// removed.
func shimError(file string, err error) error {
	if foreign, ok := errors.AsType[*plugin.ForeignError](err); ok {
		return exit.AsUsage(foreign)
	}
	if unsafe, ok := errors.AsType[*plugin.TargetError](err); ok {
		return exit.AsUsage(unsafe)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &exit.UsageError{Err: fmt.Errorf("%s: %w", file, fs.ErrNotExist), Remedy: "name the folder: shim install DIR, shim remove DIR"}
	}
	if errors.Is(err, fs.ErrPermission) {
		return &exit.UsageError{Err: err, Remedy: "run it with sudo, or name a folder of your own that stands early on PATH"}
	}
	return err
}

// installShim makes the shim and prints its path. It warns if another nerdctl is
// found before it.
func installShim(s streams, caller config.Caller, p plugin.Program, dir string) error {
	file, err := p.Install(dir, shimTarget(p))
	if err != nil {
		return shimError(file, err)
	}
	status := p.Status(caller.Getenv("PATH"))
	switch {
	case !status.Shim:
		fmt.Fprintf(s.err, "%s: warning: PATH leads to %s first\n", programName, printable.Line(cmp.Or(status.First, "none")))
	case status.Next == "":
		fmt.Fprintf(s.err, "%s: warning: there is no nerdctl on PATH to execute\n", programName)
	}
	_, err = fmt.Fprintln(s.out, printable.Line(file))
	return exit.AsOutput(err)
}

// shimTarget returns the path of the program on PATH if it is there, because an
// update may move what that path leads to.
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
	_, err := io.WriteString(s.out, printable.Text(fmt.Sprintf("first     %s (%s)\nexecuted  %s\n", cmp.Or(status.First, "none"), what, cmp.Or(status.Next, "none"))))
	if err == nil && !status.Shim {
		return exit.Reported(errors.New("the shim is not the nerdctl that is found first"))
	}
	return exit.AsOutput(err)
}

// maxShims is how many shims may be replaced by nerdctl on the way to this process. A
// few are legitimate: programs that nerdctl starts may call nerdctl.
const maxShims = 16

// runShim executes one command line under the name of nerdctl. Commands other
// than pull-ext are executed by nerdctl, under its real path: nerdctl may
// execute its own command line once more in other namespaces, and must not find
// the shim then.
func runShim(ctx context.Context, s streams, caller config.Caller, args []string) int {
	call := plugin.Parse(args)
	if call.IsPull {
		return runInvocation(ctx, s, caller, invocation{display: plugin.Name + " " + plugin.Word}, call.Args)
	}
	for _, c := range call.Candidates {
		fmt.Fprintln(s.out, c)
	}
	err := becomeNerdctl(caller, args)
	exit.Write(s.err, err, caller)
	return exit.Code(err)
}

// becomeNerdctl replaces the process by nerdctl. It returns only if that fails.
func becomeNerdctl(caller config.Caller, args []string) error {
	shims, _ := strconv.Atoi(caller.Getenv(config.EnvShims))
	if shims >= maxShims {
		return exit.Usagef("nerdctl on PATH comes back to the shim again and again: see containerd-pull shim status")
	}
	p, err := plugin.ThisProgram()
	if err != nil {
		return err
	}
	next, err := p.Next(caller.Getenv("PATH"))
	if err != nil {
		return exit.AsUsage(err)
	}
	env := append(slices.Clone(caller.Environ), config.EnvShims+"="+strconv.Itoa(shims+1))
	return fmt.Errorf("executing %s: %w", next, syscall.Exec(next, append([]string{next}, args...), env))
}
