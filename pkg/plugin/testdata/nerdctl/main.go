// Command nerdctl stands in for nerdctl in tests: its global flags, a few of
// its commands, and cobra's stock completion, as nerdctl has it.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "nerdctl", SilenceUsage: true}
	flags := root.PersistentFlags()
	for name, short := range map[string]string{"address": "a", "host": "H", "namespace": "n"} {
		flags.StringP(name, short, "", name)
		flags.String(short, "", name)
		_ = flags.MarkHidden(short)
	}
	for _, name := range []string{"snapshotter", "storage-driver", "hosts-dir", "data-root", "cgroup-manager"} {
		flags.String(name, "", name)
	}
	for _, name := range []string{"debug", "debug-full", "insecure-registry", "experimental", "kube-hide-dupe"} {
		flags.Bool(name, false, name)
	}
	pull := func() *cobra.Command {
		cmd := &cobra.Command{
			Use: "pull", Short: "Pull an image", Args: cobra.ExactArgs(1),
			Run: func(cmd *cobra.Command, args []string) { fmt.Println("nerdctl pulls", args) },
		}
		cmd.Flags().String("platform", "", "platform")
		_ = cmd.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions([]string{"stand-in/amd64", "stand-in/arm64"}, cobra.ShellCompDirectiveNoFileComp))
		return cmd
	}
	image := &cobra.Command{Use: "image", Short: "Manage images"}
	image.AddCommand(pull())
	root.AddCommand(pull(), image, &cobra.Command{Use: "ps", Short: "List containers", Run: func(*cobra.Command, []string) {}})
	if root.Execute() != nil {
		os.Exit(1)
	}
}
