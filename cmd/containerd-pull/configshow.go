package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

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
