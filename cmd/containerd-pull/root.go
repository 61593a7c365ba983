package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// newRootCmd returns the command without a command word: a pull.
func newRootCmd(s streams, caller config.Caller) *cobra.Command {
	root := newPullCmd(s, caller)
	root.Use = programName + " [flags] REF [REF...]"
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(usage.FlagError)
	root.Args = wordsOrReferences
	root.RunE = versionOr(s, root.RunE)
	// cobra adds both flags only after it has looked for a command word in front
	// of them, and words them differently.
	root.Flags().BoolP("version", "v", false, "print the version")
	usage.AddHelpFlags(root)
	root.AddCommand(
		newPullCmd(s, caller),
		newPlanCmd(s, caller),
		newGroupCmd("config", "Show the configuration", newConfigShowCmd(s, caller)),
		newGroupCmd("profile", "List, show, add, edit, remove and check profiles",
			newProfileListCmd(s, caller), newProfileShowCmd(s, caller), newProfileInitCmd(s, caller),
			newProfileEditCmd(s, caller), newProfileRmCmd(s, caller), newProfileCheckCmd(s, caller)),
		newGroupCmd("hosts", "Show or write which hosts are asked", newHostsCheckCmd(s, caller), newHostsWriteCmd(s, caller)),
		newImagesCmd(s, caller),
		newRmCmd(s, caller),
		newRootFolderCmd(s, caller),
		newLoginCmd(s, caller),
		newLogoutCmd(s, caller),
		newVerifyCmd(s, caller),
		newGCCmd(s, caller),
		newWatchCmd(s, caller),
		newCompletionCmd(s),
		newShellInitCmd(s),
		newShimCmd(s, caller),
		newTimelineCmd(s),
		newVersionCmd(s),
	)
	root.SetHelpCommand(newHelpCmd(s))
	root.InitDefaultHelpCmd() // which adds it
	addHelp(root)
	return root
}

// newGroupCmd returns a command that only has commands below it.
func newGroupCmd(use, short string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   use + " COMMAND",
		DisableFlagsInUseLine: true,
		Short:                 short,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			for _, c := range sub {
				names = append(names, c.Name())
			}
			return &exit.UsageError{
				Err:    fmt.Errorf("%s: got %q, want a command", cmd.CommandPath(), strings.Join(args, " ")),
				Remedy: usage.OneOf(names, args),
			}
		},
	}
	cmd.AddCommand(sub...)
	return cmd
}
