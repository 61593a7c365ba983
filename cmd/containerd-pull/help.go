package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

func newHelpCmd(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|TOPIC]",
		Short: "Help about a command, or about one of: " + strings.Join(topicNames(), ", "),
		RunE:  func(cmd *cobra.Command, args []string) error { return runHelp(s.out, cmd.Root(), args) },
	}
}

func runHelp(out io.Writer, root *cobra.Command, args []string) error {
	if len(args) == 1 {
		for _, t := range topics() {
			if t.name == args[0] {
				_, err := io.WriteString(out, t.text())
				return asOutput(err)
			}
		}
	}
	cmd, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		err := fmt.Errorf("no help about %q", strings.Join(args, " "))
		return &usageError{err, oneOf(append(commandNames(cmd), topicNames()...), rest)}
	}
	return cmd.Help()
}

// commandNames lists the commands below cmd.
func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// mistyped warns of an image that has nearly the name of a command: whoever
// mistypes a command gets somebody's image otherwise, or a puzzling error.
func mistyped(root *cobra.Command, arg string) []string {
	if strings.ContainsAny(arg, "/:@.") || len(arg) < 4 { // gcc is no gc
		return nil
	}
	near := config.Nearest(arg, commandNames(root))
	if near == "" || near == arg {
		return nil
	}
	return []string{fmt.Sprintf("%s is pulled as an image; did you mean the command %q?", arg, near)}
}

// showUsage is what help ends with.
func showUsage(cmd *cobra.Command) error {
	writeUsage(cmd.OutOrStdout(), cmd)
	return nil
}

// writeUsage shows the flags under the headings of the table of settings.
func writeUsage(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "Usage:\n  %s\n", cmd.UseLine())
	writeCommands(w, cmd)
	for _, g := range config.Groups() {
		writeFlags(w, string(g), cmd.Flags(), func(f *pflag.Flag) bool { return groupOf(f) == g })
	}
	writeFlags(w, "Flags", cmd.Flags(), func(f *pflag.Flag) bool { return groupOf(f) == "" })
}

func writeCommands(w io.Writer, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	fmt.Fprintln(w, "\nCommands:")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			fmt.Fprintf(w, "  %-10s %s\n", sub.Name(), sub.Short)
		}
	}
}

func groupOf(f *pflag.Flag) config.Group {
	if names := f.Annotations[config.GroupAnnotation]; len(names) > 0 {
		return config.Group(names[0])
	}
	return ""
}

// writeFlags lists the flags that want tells to belong under the heading.
func writeFlags(w io.Writer, heading string, all *pflag.FlagSet, want func(*pflag.Flag) bool) {
	some := pflag.NewFlagSet(heading, pflag.ContinueOnError)
	some.SortFlags = false
	all.VisitAll(func(f *pflag.Flag) {
		if want(f) {
			shown := *f
			shown.Value = shownValue{f.Value}
			some.AddFlag(&shown)
		}
	})
	if some.HasAvailableFlags() {
		fmt.Fprintf(w, "\n%s:\n%s", heading, some.FlagUsages())
	}
}

// shownValue hides from pflag what makes it add "[=true|false]" to each flag
// that is either on or off.
type shownValue struct{ pflag.Value }
