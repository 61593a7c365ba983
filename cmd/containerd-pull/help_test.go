package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

func helpOf(t *testing.T, cmd *cobra.Command, width int, all bool) string {
	t.Helper()
	var text bytes.Buffer
	if err := usage.Help(&text, cmd, usage.Layout{Width: width, All: all, Topics: topics()}); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// The help of a pull, on 80 columns, as it is read first.
func TestHelpOfThePull(t *testing.T) {
	root := newTestRoot()
	golden.File(t, "testdata/help.golden", []byte(helpOf(t, root, 80, false)))
	golden.File(t, "testdata/help-all.golden", []byte(helpOf(t, root, 80, true)))
}

// Under another name of the program, all that a user can type has that name. As a word of
// prose the program keeps its own.
func TestHelpUnderAnotherName(t *testing.T) {
	root := newTestRoot()
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "nerdctl pull-ext"}
	usage.Walk(root, func(cmd *cobra.Command) {
		_, examples, _ := strings.Cut(helpOf(t, cmd, 80, false), "\nExamples:\n")
		examples, _, _ = strings.Cut(examples, "\n\n")
		if strings.Contains(examples, programName+" ") {
			t.Errorf("%s: got examples %q, want %q in them", cmd.CommandPath(), examples, "nerdctl pull-ext")
		}
	})
	root.Long = "containerd-pull brings images: see containerd-pull --help,\ncontainerd-pull\nimages, and\n" +
		"containerd-pull REF; not /bin/containerd-pull -q.\n\n    containerd-pull debian && (containerd-pull app)"
	root.Example = "# As containerd-pull does.\nx=$(containerd-pull debian)"
	got, _, _ := strings.Cut(helpOf(t, root, 200, false), "\n\nCommands:")
	want := "containerd-pull brings images: see nerdctl pull-ext --help, nerdctl pull-ext images, and nerdctl pull-ext REF; not /bin/containerd-pull -q.\n\n" +
		"    nerdctl pull-ext debian && (nerdctl pull-ext app)\n\n" +
		"Usage:\n  nerdctl pull-ext [flags] REF [REF...]\n\n" +
		"Examples:\n  # As containerd-pull does.\n  x=$(nerdctl pull-ext debian)"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// No line of any help is wider than the terminal, under any name of the program.
// Every flag is in it, or counted as left out.
func TestHelpFits(t *testing.T) {
	for _, display := range []string{"", "nerdctl pull-ext"} {
		root := newTestRoot()
		if display != "" {
			root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: display}
		}
		usage.Walk(root, func(cmd *cobra.Command) {
			for _, width := range []int{80, 100, 200} {
				for _, all := range []bool{false, true} {
					text := helpOf(t, cmd, width, all)
					for line := range strings.Lines(text) {
						if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > width {
							t.Errorf("%s on %d columns: got %d in %q", cmd.CommandPath(), width, n, line)
						}
					}
					if all {
						everyFlagIn(t, cmd, text)
					}
				}
			}
		})
	}
}

func everyFlagIn(t *testing.T, cmd *cobra.Command, text string) {
	t.Helper()
	for _, g := range usage.Groups(cmd) {
		g.Flags.VisitAll(func(f *pflag.Flag) {
			if name, _ := usage.Spelled(f); !strings.Contains(text, " "+name) {
				t.Errorf("%s: %s is not in the help of all flags", cmd.CommandPath(), name)
			}
		})
	}
}
