package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

func newShellInitCmd(s streams) *cobra.Command {
	return &cobra.Command{
		Use:                   "shell-init " + strings.Join(plugin.Shells(), "|"),
		Short:                 "Print a shell function that gives nerdctl the command " + plugin.Word,
		DisableFlagsInUseLine: true,
		Args:                  oneShell,
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := plugin.Init(args[0])
			if err != nil {
				return asUsage(err)
			}
			_, err = io.WriteString(s.out, text)
			return asOutput(err)
		},
	}
}
