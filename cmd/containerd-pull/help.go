package main

import (
	"embed"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
)

//go:generate ../../.ci/named "TestReference TestHelpOfThePull" -update

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

// topics are the pages of help that belong to no command.
func topics() []usage.Topic {
	return []usage.Topic{
		{Name: "profiles", Short: "settings for some registries under a name"},
		{Name: "engines", Short: "who fetches and who unpacks"},
		{Name: "exit-codes", Short: "what went wrong, for scripts"},
	}
}

// topicText returns a topic's page, which is plain text as well as Markdown.
func topicText(t usage.Topic) string {
	text, _ := helpText(t.Name)
	return strings.Replace(text+"\n", "{{table}}\n", indent("    ", exit.CodesText()), 1)
}

func topicNames() []string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.Name)
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
			if t.Name == args[0] {
				_, err := io.WriteString(out, topicText(t))
				return exit.AsOutput(err)
			}
		}
	}
	cmd, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		err := fmt.Errorf("no help about %q", strings.Join(args, " "))
		return &exit.UsageError{Err: err, Remedy: usage.OneOf(append(usage.CommandNames(cmd), topicNames()...), rest)}
	}
	return showHelp(out, cmd)
}

// showHelp writes the help of a command as wide as the terminal is.
func showHelp(out io.Writer, cmd *cobra.Command) error {
	l := usage.Layout{Width: columnsOf(out), All: usage.AsksAll(cmd), Topics: topics()}
	return exit.AsOutput(usage.Help(out, cmd, l))
}

// columnsOf returns the width of a terminal, and 80 for anything else.
func columnsOf(out io.Writer) int {
	if file, ok := out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	return 80
}

// indent puts prefix in front of every line.
func indent(prefix, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(prefix + line)
	}
	return b.String()
}
