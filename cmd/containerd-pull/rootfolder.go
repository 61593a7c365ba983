package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// newRootFolderCmd returns the commands on images with a root as their first argument.
func newRootFolderCmd(s streams, caller config.Caller) *cobra.Command {
	return newGroupCmd("root", "List or remove the images of a root, as images --root and rm --root do",
		inRoot(newImagesCmd(s, caller), "ls [flags] DIR [REF...]"), inRoot(newRmCmd(s, caller), "rm [flags] DIR REF [REF...] | DIR --prune"))
}

// inRoot has a command take the folder of --root as its first argument.
func inRoot(cmd *cobra.Command, use string) *cobra.Command {
	run := cmd.RunE
	cmd.Use = use
	place := []string{"root", "address", "host", "a", "H"}
	for _, name := range place {
		cmd.Flags().Lookup(name).Hidden = true
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range place {
			if cmd.Flags().Changed(name) {
				return exit.Usagef("%s: the root is the first argument, so --%s has no place", cmd.CommandPath(), name)
			}
		}
		if len(args) == 0 {
			return exit.Usagef("no root is named\nusage: %s", cmd.UseLine())
		}
		if err := cmd.Flags().Set("root", args[0]); err != nil {
			return exit.AsUsage(fmt.Errorf("%s: %w", args[0], err))
		}
		return run(cmd, args[1:])
	}
	return cmd
}
