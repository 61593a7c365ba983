package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// newGroupCmd is a command that only has commands.
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
			return &usageError{
				err:  fmt.Errorf("%s: got %q, want a command", cmd.CommandPath(), strings.Join(args, " ")),
				hint: oneOf(names, args),
			}
		},
	}
	cmd.AddCommand(sub...)
	return cmd
}

// oneOf is the hint where a word that is missing or unknown should be one of
// names.
func oneOf(names, args []string) string {
	if len(args) > 0 {
		if near := value.Nearest(args[0], names); near != "" {
			return fmt.Sprintf("did you mean %q?", near)
		}
	}
	return "there are: " + strings.Join(names, ", ")
}

type configShowOptions struct {
	streams streams
	caller  config.Caller
	flags   *config.Flags
	format  string
}

func newConfigShowCmd(s streams, caller config.Caller) *cobra.Command {
	o := &configShowOptions{streams: s, caller: caller}
	cmd := &cobra.Command{
		Use:                   "show [flags] [REF]",
		Short:                 "Show every setting and where it comes from, as a pull of REF would see it",
		DisableFlagsInUseLine: true,
		Args:                  atMostOne,
		RunE:                  func(_ *cobra.Command, args []string) error { return runConfigShow(o, args) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.ShowSettings())
	addFormat(cmd, &o.format)
	return cmd
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%s takes one argument: got %q", cmd.CommandPath(), args)
	}
	return nil
}

// addFormat declares --format of the commands that show something.
func addFormat(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "", "`form` of the output: json; plain text without it")
}

// checkFormat refuses a form that there is not, before any work.
func checkFormat(format string) error {
	if format != "" && format != "json" {
		return usagef("--format: got %q, want json", format)
	}
	return nil
}

// writeFormatted writes what a command shows: v as JSON, or what text writes.
func writeFormatted(w io.Writer, format string, v any, text func(io.Writer)) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	switch format {
	case "":
		var b strings.Builder
		tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		text(tw)
		tw.Flush()
		_, err := io.WriteString(w, b.String())
		return asOutput(err)
	default:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return asOutput(enc.Encode(v))
	}
}

// shownSetting is a setting in JSON. The names are API.
type shownSetting struct {
	Name   string      `json:"name"` // the key, or the flag of what has none
	Value  any         `json:"value"`
	Origin shownOrigin `json:"origin"`
}

type shownOrigin struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func showSettings(all []config.Resolved) []shownSetting {
	shown := make([]shownSetting, len(all))
	for i, r := range all {
		shown[i] = shownSetting{r.Setting.Name(), r.Plain, shownOrigin{string(r.From.Kind), r.From.Name, r.From.File, r.From.Line}}
	}
	return shown
}

// shownConfig is the whole of config show in JSON.
type shownConfig struct {
	Profile  string         `json:"profile"`
	Settings []shownSetting `json:"settings"`
	Files    []string       `json:"files"`
	Profiles []shownProfile `json:"profiles"`
	Warnings []string       `json:"warnings"`
}

func runConfigShow(o *configShowOptions, args []string) error {
	var ref source.Ref
	if len(args) > 0 {
		var err error
		if ref, err = source.ParseRef(args[0]); err != nil {
			return asUsage(err)
		}
	}
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return asUsage(err)
	}
	cfg, err := settings.Resolve(ref)
	if err != nil {
		return asUsage(err)
	}
	shown := shownConfig{
		Profile:  cfg.Profile,
		Settings: showSettings(cfg.Resolved()),
		Files:    append([]string{}, settings.Files()...),
		Profiles: showProfiles(settings.Profiles()),
		Warnings: append([]string{}, settings.Warnings()...),
	}
	return writeFormatted(o.streams.out, o.format, shown, func(w io.Writer) {
		writeSettings(w, cfg.Resolved())
		writeSources(w, shown)
	})
}

// writeSettings leaves out flags without a key that were not given: they have
// no default to show.
func writeSettings(w io.Writer, all []config.Resolved) {
	for _, r := range all {
		if r.Setting.Key != "" || r.From.Kind != config.BuiltIn {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.Setting.Name(), r.Value, r.From)
		}
	}
}

func writeSources(w io.Writer, shown shownConfig) {
	for _, f := range shown.Files {
		fmt.Fprintf(w, "file\t%s\t\n", f)
	}
	for _, p := range shown.Profiles {
		fmt.Fprintf(w, "profile\t%s\t%s\n", p.Name, strings.Join(p.Match, ", "))
	}
	for _, text := range shown.Warnings {
		fmt.Fprintf(w, "warning\t%s\t\n", text)
	}
}
