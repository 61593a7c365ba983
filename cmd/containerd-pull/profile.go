package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type profileOptions struct {
	options
	format  string
	online  bool
	migrate bool
}

// newProfileCmd returns one of the commands on profiles. Their only setting is
// the file to read.
func newProfileCmd(o *profileOptions, use, short string, run func(context.Context, *profileOptions, []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   use,
		Short:                 short,
		DisableFlagsInUseLine: true,
		RunE:                  func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), o, args) },
	}
	o.flags = config.NewFlags(cmd.Flags(), config.FileSettings())
	return cmd
}

func newProfileListCmd(s streams, caller config.Caller) *cobra.Command {
	o := &profileOptions{options: options{streams: s, caller: caller}}
	cmd := newProfileCmd(o, "list [flags]", "List the profiles, their patterns and their files", runProfileList)
	cmd.Args = noArgs
	addFormat(cmd, &o.format)
	return cmd
}

func newProfileShowCmd(s streams, caller config.Caller) *cobra.Command {
	o := &profileOptions{options: options{streams: s, caller: caller}}
	cmd := newProfileCmd(o, "show [flags] NAME", "Show what a profile says, with those that it extends", runProfileShow)
	cmd.Args = exactlyOne
	addFormat(cmd, &o.format)
	return cmd
}

func newProfileInitCmd(s streams, caller config.Caller) *cobra.Command {
	o := &profileOptions{options: options{streams: s, caller: caller}}
	cmd := newProfileCmd(o, "init [flags] [NAME]", "Add a commented profile to the user's configuration file, or to --config", runProfileInit)
	cmd.Args = atMostOne
	return cmd
}

func runProfileList(_ context.Context, o *profileOptions, _ []string) error {
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return asUsage(err)
	}
	o.warn(settings.Warnings()...)
	shown := output.NewProfiles(settings.Profiles())
	return writeFormatted(o.streams.out, o.format, shown, shown.Write)
}

func runProfileShow(_ context.Context, o *profileOptions, args []string) error {
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return asUsage(err)
	}
	o.warn(settings.Warnings()...)
	made, err := settings.ShowProfile(args[0])
	if err != nil {
		return asUsage(err)
	}
	for _, p := range settings.Profiles() {
		if p.Name == args[0] {
			return writeProfile(o, output.NewProfile(p, made))
		}
	}
	return nil
}

func writeProfile(o *profileOptions, p output.Profile) error {
	text, err := p.TOML()
	if err != nil {
		return fmt.Errorf("writing profile %s as TOML: %w", p.Name, err)
	}
	return writeFormatted(o.streams.out, o.format, p, func(w io.Writer) { fmt.Fprintf(w, "%s", text) })
}

func runProfileInit(_ context.Context, o *profileOptions, args []string) error {
	name := "example"
	if len(args) > 0 {
		name = args[0]
	}
	path, err := o.flags.NamedFile(o.caller)
	if err != nil {
		return asUsage(err)
	}
	if path == "" {
		path = o.caller.UserFile()
		if err := config.CheckUserFile(path); err != nil {
			return asUsage(err)
		}
	}
	if path == "" {
		return usagef("no HOME to write the profile to: name a file with --config")
	}
	if err := config.InitProfile(path, name); err != nil {
		if store.IsStorage(err) {
			return err
		}
		return asUsage(err)
	}
	_, err = fmt.Fprintln(o.streams.out, printable.Line(path))
	return asOutput(err)
}
