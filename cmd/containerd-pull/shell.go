package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

//go:generate ../../.ci/named TestCompletionFiles -update

// newCompletionCmd prints the scripts that cobra generates. They ask the
// program for candidates, which internal/complete finds.
func newCompletionCmd(s streams) *cobra.Command {
	return &cobra.Command{
		Use:                   "completion " + strings.Join(plugin.Shells(), "|"),
		Short:                 "Print the script that completes command lines in a shell",
		DisableFlagsInUseLine: true,
		Args:                  oneShell,
		RunE: func(cmd *cobra.Command, args []string) error {
			return exit.AsOutput(writeCompletion(s.out, cmd.Root(), args[0]))
		},
	}
}

func writeCompletion(w io.Writer, root *cobra.Command, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	}
	return fmt.Errorf("no completion for shell %q", shell)
}

func newShellInitCmd(s streams) *cobra.Command {
	return &cobra.Command{
		Use:                   "shell-init " + strings.Join(plugin.Shells(), "|"),
		Short:                 "Print a shell function that gives nerdctl the command " + plugin.Word,
		DisableFlagsInUseLine: true,
		Args:                  oneShell,
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := plugin.Init(args[0])
			if err != nil {
				return exit.AsUsage(err)
			}
			_, err = io.WriteString(s.out, text)
			return exit.AsOutput(err)
		},
	}
}
