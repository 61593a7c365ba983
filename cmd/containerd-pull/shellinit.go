package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/nerdctl"
)

func newShellInitCmd(s streams) *cobra.Command {
	return &cobra.Command{
		Use:                   "shell-init " + strings.Join(nerdctl.Shells(), "|"),
		Short:                 "Print a shell function that gives nerdctl the command " + nerdctl.Word,
		DisableFlagsInUseLine: true,
		Args:                  oneShell,
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := nerdctl.Init(args[0])
			if err != nil {
				return asUsage(err)
			}
			_, err = io.WriteString(s.out, text)
			return asOutput(err)
		},
	}
}
