package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/enter"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/terminal"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
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
		return exit.AsUsage(err)
	}
	o.warn(settings.Warnings()...)
	shown := output.NewProfiles(settings.Profiles())
	return writeFormatted(o.streams.out, o.format, shown, shown.Write)
}

func runProfileShow(_ context.Context, o *profileOptions, args []string) error {
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return exit.AsUsage(err)
	}
	o.warn(settings.Warnings()...)
	made, err := settings.ShowProfile(args[0])
	if err != nil {
		return exit.AsUsage(err)
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

func runProfileInit(ctx context.Context, o *profileOptions, args []string) error {
	name, err := newName(ctx, args)
	if err != nil {
		return err
	}
	path, err := o.flags.NamedFile(o.caller)
	if err != nil {
		return exit.AsUsage(err)
	}
	if path == "" {
		path = o.caller.UserFile()
		if err := config.CheckUserFile(path); err != nil {
			return exit.AsUsage(err)
		}
	}
	if path == "" {
		return exit.Usagef("no HOME to write the profile to: name a file with --config")
	}
	if err := config.InitProfile(path, name); err != nil {
		return writeError(err)
	}
	if _, err := fmt.Fprintln(o.streams.out, printable.Line(path)); err != nil {
		return exit.AsOutput(err)
	}
	with := ""
	if path != o.caller.UserFile() {
		with = " --config " + printable.Line(path)
	}
	program := cmp.Or(o.caller.Program, programName)
	fmt.Fprintf(o.streams.err, "Next: say in its match which registries %[2]s is for, take the # off what they need, and look with\n"+
		"  %[1]s profile check %[2]s%[3]s\n  %[1]s config show --changed -p %[2]s%[3]s\n", program, name, with)
	return nil
}

// newName returns the name for a new profile, which it asks for if there is none.
func newName(ctx context.Context, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	name, err := terminal.Ask(ctx, "Name of the profile: ")
	return strings.TrimSpace(name), noTerminal(err, "the profile has no name", programName+" profile init NAME, where NAME is of small letters, digits, _ and -")
}

func newProfileCheckCmd(s streams, caller config.Caller) *cobra.Command {
	o := &profileOptions{options: options{streams: s, caller: caller}}
	cmd := newProfileCmd(o, "check [flags] [NAME...]", "Check the configuration files and what they name, without pulling", runProfileCheck)
	cmd.Flags().BoolVar(&o.online, "online", false, "also reach the daemon and log in to the hosts")
	cmd.Flags().BoolVar(&o.migrate, "migrate", false, "name instead each line whose meaning changed since the first release, and what to write")
	addFormat(cmd, &o.format)
	return cmd
}

// runProfileCheck reports all mistakes, not only the first.
func runProfileCheck(ctx context.Context, o *profileOptions, names []string) error {
	if o.online && o.migrate {
		return exit.Usagef("--online and --migrate exclude each other")
	}
	if err := checkFormat(o.format); err != nil {
		return err
	}
	settings, err := config.Read(o.caller, o.flags)
	if err != nil {
		return exit.AsUsage(err)
	}
	var wrong []error
	for _, f := range settings.Findings() {
		wrong = append(wrong, exit.AsUsage(f))
	}
	if o.migrate && len(wrong) > 0 {
		for _, err := range wrong {
			exit.Write(o.streams.err, err, o.caller)
		}
		return exit.Reported(errors.Join(wrong...))
	}
	if o.migrate {
		return showChanges(o, settings, names)
	}
	shown := output.NewCheck(settings)
	if len(wrong) == 0 {
		wrong = o.checkProfiles(ctx, settings, names)
	}
	if len(wrong) == 0 {
		if err := addReach(shown, settings, names); err != nil {
			return err
		}
	}
	return o.showCheck(shown, wrong)
}

// showCheck writes the result: on stdout what is right and may be known, on stderr
// what is not; as JSON, all of it on stdout.
func (o *profileOptions) showCheck(shown *output.Check, wrong []error) error {
	for _, err := range wrong {
		shown.Wrong = append(shown.Wrong, output.Finding{Message: err.Error(), Hint: exit.HintFor(err, o.caller)})
	}
	if o.format == "" {
		o.warn(shown.Warnings...)
		for _, err := range wrong {
			exit.Write(o.streams.err, err, o.caller)
		}
	}
	if o.format != "" || len(wrong) == 0 {
		if err := writeFormatted(o.streams.out, o.format, shown, shown.Write); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return exit.Reported(errors.Join(wrong...))
	}
	return nil
}

// showChanges writes the lines whose meaning changed. They are an error, so that a
// script sees them.
func showChanges(o *profileOptions, settings *config.Settings, names []string) error {
	for _, name := range names {
		if _, err := settings.ShowProfile(name); err != nil { // it has to exist
			return exit.AsUsage(err)
		}
	}
	changes, err := settings.Changes(names)
	if err != nil {
		return exit.AsUsage(err)
	}
	shown := output.NewChanges(changes)
	if err := writeFormatted(o.streams.out, o.format, shown, shown.Write); err != nil {
		return err
	}
	if len(changes) > 0 {
		return exit.Reported(exit.Usagef("%d lines mean something else than in the first release", len(changes)))
	}
	return nil
}

// profilesOr returns names, or those of all profiles and an empty one, which
// stands for the settings without a profile.
func profilesOr(settings *config.Settings, names []string) []string {
	if len(names) > 0 {
		return names
	}
	names = []string{""}
	for _, p := range settings.Profiles() {
		names = append(names, p.Name)
	}
	return names
}

// addReach adds which hosts each credential may be sent to, and warns of what may
// reach further than its author thought.
func addReach(shown *output.Check, settings *config.Settings, names []string) error {
	for _, name := range profilesOr(settings, names) {
		cfg, err := settings.WithProfile(name)
		if err != nil {
			return exit.AsUsage(err)
		}
		for _, caveat := range cfg.Caveats() {
			shown.Warnings = append(shown.Warnings, inProfile(name, errors.New(caveat)).Error())
		}
		for _, r := range cfg.Reach() {
			shown.Credentials = append(shown.Credentials, output.Reach{Profile: name, Credential: r.Credential, Hosts: r.Hosts})
		}
	}
	return nil
}

func (o *profileOptions) checkProfiles(ctx context.Context, settings *config.Settings, names []string) []error {
	var wrong []error
	for _, name := range profilesOr(settings, names) {
		cfg, err := settings.WithProfile(name)
		if err != nil {
			wrong = append(wrong, exit.AsUsage(err))
			continue
		}
		for _, err := range cfg.Probe() {
			wrong = append(wrong, exit.AsUsage(inProfile(name, err)))
		}
		if o.online {
			wrong = append(wrong, o.checkOnline(ctx, settings, name, cfg)...)
		}
	}
	return wrong
}

func inProfile(name string, err error) error {
	if name == "" {
		return err
	}
	return fmt.Errorf("profile %s: %w", name, err)
}

// checkOnline connects to the daemon and logs in to the registries that the
// profile's patterns name without a wildcard.
func (o *profileOptions) checkOnline(ctx context.Context, settings *config.Settings, name string, cfg *config.Config) []error {
	var wrong []error
	if cfg.Store.Root == "" {
		if err := enter.Rootless(o.caller, cfg); err != nil {
			return append(wrong, inProfile(name, err))
		}
		st, err := daemon.Dial(ctx, cfg.Store)
		if err == nil {
			err = st.Close()
		}
		if err != nil {
			wrong = append(wrong, inProfile(name, err))
		}
	}
	opts := cfg.Registry
	var err error
	credentials := cfg.CredentialOptions(o.caller, nil)
	credentials.Shared = o.sharedCredentials()
	opts.Hosts.Warn = func(message string) { o.warn(message) }
	if opts.Credentials, err = credential.New(credentials); err != nil {
		return append(wrong, inProfile(name, err))
	}
	reg, err := registry.New(opts)
	if err != nil {
		return wrong // Probe has reported it
	}
	for _, host := range settings.Hosts(name) {
		if err := reg.Login(ctx, host); err != nil {
			wrong = append(wrong, inProfile(name, err))
		}
	}
	return wrong
}
