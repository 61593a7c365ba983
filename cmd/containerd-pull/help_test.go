package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
	"github.com/containerd-pull/containerd-pull/pkg/config"
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
	common := 0
	root.Flags().VisitAll(func(f *pflag.Flag) {
		if config.IsCommon(f) {
			common++
		}
	})
	if common != 15 {
		t.Errorf("got %d flags that are shown first, want 15", common)
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
	if strings.Contains(text, "default default") {
		t.Errorf("%s: got %q", cmd.CommandPath(), "default default")
	}
}
