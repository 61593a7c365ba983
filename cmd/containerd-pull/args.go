package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

// noArgs refuses arguments for a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return exit.Usagef("%s takes no argument: got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

func exactlyOne(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return exit.Usagef("%s takes one argument: got %d\nusage: %s", cmd.CommandPath(), len(args), cmd.UseLine())
	}
	return nil
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return exit.Usagef("%s takes one argument: got %q", cmd.CommandPath(), args)
	}
	return nil
}

// someReferences requires a reference, or a file that names some.
func someReferences(cmd *cobra.Command, args []string) error {
	if err := usage.RefuseValues(cmd, args); err != nil {
		return err
	}
	lists, err := config.FlagsOf(cmd.Flags()).Lists()
	if err != nil {
		return exit.AsUsage(err)
	}
	if len(args) > 0 || !lists.None() || usage.AsksVersion(cmd) {
		return nil
	}
	name := cmd.Root().DisplayName()
	return &exit.UsageError{
		Err:    fmt.Errorf("no image is named\nusage: %s", cmd.UseLine()),
		Remedy: fmt.Sprintf("for example %s alpine; %s --help tells more", cmd.CommandPath(), name),
	}
}

// wordsOrReferences requires a reference too, where a command may have been meant by
// it, unless it stands behind --.
func wordsOrReferences(cmd *cobra.Command, args []string) error {
	if err := someReferences(cmd, args); err != nil || cmd.ArgsLenAtDash() == 0 {
		return err
	}
	return usage.RefuseWords(cmd, args)
}

func oneStream(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return exit.Usagef("%s takes one file of events, or - for stdin: got %d arguments", cmd.CommandPath(), len(args))
	}
	return nil
}

// oneShell requires the name of a shell.
func oneShell(cmd *cobra.Command, args []string) error {
	if err := exactlyOne(cmd, args); err != nil {
		return err
	}
	for _, shell := range plugin.Shells() {
		if shell == args[0] {
			return nil
		}
	}
	return exit.Usagef("%s: got %q, want one of %s", cmd.CommandPath(), args[0], strings.Join(plugin.Shells(), ", "))
}

// addFormat declares --format for a command that shows something.
func addFormat(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "", "`form` of the output: json; plain text without it")
}

// checkFormat refuses an unknown form before any work is done.
func checkFormat(format string) error {
	if format != "" && format != "json" {
		return exit.Usagef("--format: got %q, want json", format)
	}
	return nil
}

// writeFormatted writes the result of a command to w: v as JSON, or the output
// of text.
func writeFormatted(w io.Writer, format string, v any, text func(io.Writer)) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	if format == "" {
		return exit.AsOutput(output.Text(w, text))
	}
	return exit.AsOutput(output.JSON(w, v))
}
