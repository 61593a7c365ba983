package main

import (
	"cmp"
	"embed"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

//go:generate ../../.ci/named TestReference -update

// helpFiles hold what help, the reference and the man pages say about each
// command and each topic: paragraphs, blocks indented by four spaces, and at
// the end of a command's file its examples as a block of shell. A test runs the
// examples with a registry that has every image: each has to succeed in an
// empty home, and must not write anywhere else.
//
//go:embed help/*.md
var helpFiles embed.FS

// helpText returns the text and the examples of a file; both are empty if the
// file does not exist.
func helpText(name string) (text, examples string) {
	page, _ := helpFiles.ReadFile("help/" + name + ".md")
	text, examples, _ = strings.Cut(string(page), "```sh\n")
	return strings.TrimRight(text, "\n"), strings.TrimSuffix(examples, "\n```\n")
}

// addHelp gives each command the text and the examples of its file.
func addHelp(root *cobra.Command) {
	usage.Walk(root, func(cmd *cobra.Command) {
		cmd.Long, cmd.Example = helpText(helpName(root, cmd))
	})
}

// helpName returns the name of a command's file, such as hosts-check. The root
// has the name of the program.
func helpName(root, cmd *cobra.Command) string {
	if cmd == root {
		return programName
	}
	return strings.ReplaceAll(cmd.CommandPath()[len(root.CommandPath())+1:], " ", "-")
}

// topic is a page of help that belongs to no command.
type topic struct {
	name  string
	short string
}

func topics() []topic {
	return []topic{
		{"profiles", "settings for some registries under a name"},
		{"engines", "who fetches and who unpacks"},
		{"exit-codes", "what went wrong, for scripts"},
	}
}

// text returns the topic's page, which is plain text as well as Markdown.
func (t topic) text() string {
	text, _ := helpText(t.name)
	return strings.Replace(text+"\n", "{{table}}\n", indent("    ", exit.CodesText()), 1)
}

func topicNames() []string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.name)
	}
	return names
}

func newHelpCmd(s streams) *cobra.Command {
	return &cobra.Command{
		Use:                   "help [COMMAND|TOPIC]",
		Short:                 "Help about a command, or about one of: " + strings.Join(topicNames(), ", "),
		DisableFlagsInUseLine: true,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runHelp(s.out, cmd.Root(), args) },
	}
}

func runHelp(out io.Writer, root *cobra.Command, args []string) error {
	if len(args) == 1 {
		for _, t := range topics() {
			if t.name == args[0] {
				_, err := io.WriteString(out, t.text())
				return exit.AsOutput(err)
			}
		}
	}
	cmd, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		err := fmt.Errorf("no help about %q", strings.Join(args, " "))
		return &exit.UsageError{Err: err, Remedy: usage.OneOf(append(usage.CommandNames(cmd), topicNames()...), rest)}
	}
	return cmd.Help()
}

// showUsage writes the usage that ends the help of a command.
func showUsage(cmd *cobra.Command) error {
	writeUsage(cmd.OutOrStdout(), cmd)
	return nil
}

// writeUsage writes how cmd is used, with its flags under the headings of the
// table of settings.
func writeUsage(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s", indent("  ", cmd.Example+"\n"))
	}
	writeCommands(w, cmd)
	for _, g := range flagGroups(cmd) {
		fmt.Fprintf(w, "\n%s:\n%s", g.heading, g.flags.FlagUsages())
	}
	if !cmd.HasParent() {
		fmt.Fprintf(w, "\nTopics:\n")
		for _, t := range topics() {
			fmt.Fprintf(w, "  %-32s %s\n", cmd.DisplayName()+" help "+t.name, t.short)
		}
	}
}

// indent puts prefix in front of every line.
func indent(prefix, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(prefix + line)
	}
	return b.String()
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

// flagGroup is the flags of a command under one heading.
type flagGroup struct {
	heading string
	flags   *pflag.FlagSet
}

// flagGroups returns the visible flags of a command. Flags that set no setting
// come last.
func flagGroups(cmd *cobra.Command) []flagGroup {
	var all []flagGroup
	cmd.LocalFlags() // adds the flags of the commands above to cmd.Flags
	for _, g := range append(config.Groups(), "") {
		some := pflag.NewFlagSet(string(g), pflag.ContinueOnError)
		some.SortFlags = false
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if config.GroupOf(f) == g && !f.Hidden {
				shown := *f
				shown.Value = shownValue{f.Value}
				some.AddFlag(&shown)
			}
		})
		if some.HasFlags() {
			all = append(all, flagGroup{cmp.Or(string(g), "Flags"), some})
		}
	}
	return all
}

// shownValue hides IsBoolFlag from pflag, which would add "[=true|false]" to
// each flag that has it.
type shownValue struct{ pflag.Value }
