package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

// invocation is how the program behaves under one of its names.
type invocation struct {
	display  string            // the command as the user types it
	defaults map[string]string // of settings, by key
	noShortN bool              // whether -n is refused
}

// runAs executes one command line under the name by which the program was
// called, and returns its exit code.
func runAs(ctx context.Context, s streams, caller config.Caller, name string, args []string) int {
	switch name {
	case plugin.Name:
		return runShim(ctx, s, caller, args)
	case plugin.PullExt:
		return runInvocation(ctx, s, caller, invocation{display: nerdctlName(caller) + " " + plugin.Word}, args)
	case plugin.DockerPlugin:
		return runDocker(ctx, s, caller, args)
	case plugin.KubectlPlugin:
		return runInvocation(ctx, s, caller, kubectl(), args)
	case plugin.KubectlCompletions:
		if len(args) == 0 {
			args = []string{""}
		}
		return runInvocation(ctx, s, caller, kubectl(), append([]string{cobra.ShellCompRequestCmd}, args...))
	}
	return run(ctx, s, caller, args)
}

// nerdctlName returns the name of the nerdctl that executes this program.
func nerdctlName(caller config.Caller) string {
	if path := caller.Getenv("NERDCTL_BIN"); path != "" {
		return filepath.Base(path)
	}
	return plugin.Name
}

// kubectl returns the invocation as a plugin of kubectl. Its images are those
// of Kubernetes, and to its users -n is a namespace of Kubernetes.
func kubectl() invocation {
	return invocation{
		display:  "kubectl " + plugin.Word,
		defaults: map[string]string{"namespace": "k8s.io"},
		noShortN: true,
	}
}

func runInvocation(ctx context.Context, s streams, caller config.Caller, p invocation, args []string) int {
	caller.Defaults, caller.Program = p.defaults, p.display
	root := newRootCmd(s, caller)
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: p.display}
	if p.noShortN {
		refuseShortN(root)
	}
	return execute(ctx, root, s, caller, args)
}

// refuseShortN removes the short letter of --namespace from cmd and the
// commands below it. A hidden flag -n explains why.
func refuseShortN(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseShortN(sub)
	}
	if cmd.Flags().Lookup("namespace") == nil {
		return
	}
	var flags []*pflag.Flag
	sorted := cmd.Flags().SortFlags
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f) })
	persistent := cmd.PersistentFlags()
	cmd.ResetFlags()
	cmd.Flags().SortFlags = sorted
	cmd.PersistentFlags().AddFlagSet(persistent)
	for _, f := range flags {
		switch f.Name {
		case "namespace":
			f.Shorthand = ""
		case "n":
			f = &pflag.Flag{Name: "n", Shorthand: "n", Value: kubernetesNamespace{}, Hidden: true}
		}
		cmd.Flags().AddFlag(f)
	}
}

// kubernetesNamespace is the value of a flag that is always refused.
type kubernetesNamespace struct{}

func (kubernetesNamespace) String() string { return "" }
func (kubernetesNamespace) Type() string   { return "text" }

func (kubernetesNamespace) Set(string) error {
	return errors.New("to kubectl this is a namespace of Kubernetes; that of containerd is --namespace")
}

// runDocker executes one command line as a plugin of Docker.
func runDocker(ctx context.Context, s streams, caller config.Caller, args []string) int {
	if len(args) > 0 && args[0] == plugin.MetadataRequest {
		_, err := s.out.Write(plugin.Metadata(buildVersion()))
		return report(s, caller, exit.AsOutput(err))
	}
	call, err := plugin.ParseDocker(args)
	if err != nil {
		return report(s, caller, exit.AsUsage(err))
	}
	ctx, stop, err := followDocker(ctx, caller)
	if err != nil {
		return report(s, caller, err)
	}
	defer stop()
	p := invocation{display: "docker pullext", defaults: map[string]string{"output_style": config.StyleDocker}}
	if platform := caller.Getenv("DOCKER_DEFAULT_PLATFORM"); platform != "" {
		p.defaults["platforms"] = platform
	}
	if call.Debug {
		p.defaults["debug"] = "true"
	}
	if call.Config != "" {
		caller = withVariable(caller, "DOCKER_CONFIG", call.Config)
	}
	return runInvocation(ctx, s, caller, p, call.Args)
}

// report writes a failure and returns its exit code, 0 for nil.
func report(s streams, caller config.Caller, err error) int {
	if err == nil {
		return 0
	}
	exit.Write(s.err, err, caller)
	return exit.Code(err)
}

// followDocker returns a context that ends when Docker asks its plugins to end.
func followDocker(ctx context.Context, caller config.Caller) (context.Context, func(), error) {
	socket := caller.Getenv("DOCKER_CLI_PLUGIN_SOCKET")
	if socket == "" {
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop, err := plugin.Follow(socket, func() { cancel(&exit.SignalError{Signal: os.Interrupt}) })
	if err != nil {
		cancel(nil)
		return ctx, nil, fmt.Errorf("DOCKER_CLI_PLUGIN_SOCKET: %w", err)
	}
	return ctx, func() {
		stop()
		cancel(nil)
	}, nil
}

// withVariable returns caller with one more variable in its environment.
func withVariable(caller config.Caller, name, text string) config.Caller {
	inner := caller.Lookup
	caller.Lookup = func(n string) (string, bool) {
		if n == name {
			return text, true
		}
		return inner(n)
	}
	return caller
}
