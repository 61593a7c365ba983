package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

type hostsOptions struct {
	options
	format string
	dryRun bool
}

func newHostsCheckCmd(s streams, caller config.Caller) *cobra.Command {
	o := &hostsOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "check [flags] REF",
		Short:                 "Show which hosts would be asked for REF, in what order and with what",
		DisableFlagsInUseLine: true,
		Args:                  exactlyOne,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runHostsCheck(cmd.Context(), o, args[0]) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.HostSettings())
	addFormat(cmd, &o.format)
	return cmd
}

func newHostsWriteCmd(s streams, caller config.Caller) *cobra.Command {
	o := &hostsOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "write [flags] DIR",
		Short:                 "Write the hosts of a profile as hosts.toml files for containerd and CRI",
		DisableFlagsInUseLine: true,
		Args:                  exactlyOne,
		RunE:                  func(_ *cobra.Command, args []string) error { return runHostsWrite(o, args[0]) },
	}
	o.flags = config.NewFlags(cmd.Flags(), config.ProfileSettings())
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the difference and write nothing")
	return cmd
}

func runHostsCheck(ctx context.Context, o *hostsOptions, arg string) error {
	settings, ref, cfg, err := o.resolveFor(arg)
	if err != nil {
		return err
	}
	o.warn(settings.Warnings()...)
	cfg.Registry.Hosts.Warn = func(message string) { o.warn(message) }
	reg, err := registry.New(cfg.Registry)
	if err != nil {
		return exit.AsUsage(err)
	}
	found, err := reg.Hosts(ctx, ref)
	if err != nil {
		return exit.AsUsage(err)
	}
	credentials := cfg.CredentialOptions(o.caller, nil)
	credentials.Shared = o.sharedCredentials()
	find, err := credential.New(credentials)
	if err != nil {
		return exit.AsUsage(err)
	}
	shown := make(output.Hosts, len(found))
	for i, h := range found {
		cred, err := find(ctx, h.Name, ref)
		if err != nil {
			return &credentialError{h.Name, err}
		}
		shown[i] = output.NewHost(h, output.Credential{Source: cred.Source, For: cred.For, Withheld: cred.Withheld})
		if u, err := url.Parse(h.URL()); err == nil {
			shown[i].Proxy, shown[i].ProxyFrom = reg.ProxyOf(u)
		}
	}
	return writeFormatted(o.streams.out, o.format, shown, shown.Write)
}

// credentialError is the error for a configured credential that cannot be
// obtained.
type credentialError struct {
	host string
	err  error
}

func (e *credentialError) Error() string   { return "credential of " + e.host + ": " + e.err.Error() }
func (e *credentialError) Unwrap() []error { return []error{e.err, exit.ErrCredential} }

// hostsMarker is the start of the files that hosts write may replace.
const hostsMarker = "# Written by " + programName + " hosts write"

// runHostsWrite writes all files, or none if one of them would replace a file
// that hosts write did not write.
func runHostsWrite(o *hostsOptions, dir string) error {
	files, profile, err := o.hostsFiles()
	if err != nil {
		return err
	}
	for i, f := range files {
		header := fmt.Sprintf("%s --profile %s: change the profile, not this file.\n", hostsMarker, profile)
		files[i].Text = append([]byte(header), f.Text...)
		if err := checkForeign(hostsPath(dir, f)); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := o.writeHostsFile(hostsPath(dir, f), f); err != nil {
			return err
		}
	}
	return nil
}

func (o *hostsOptions) hostsFiles() (files []hosts.File, profile string, err error) {
	settings, cfg, err := o.resolve(source.Ref{})
	if err != nil {
		return nil, "", err
	}
	if cfg.Profile == "" {
		return nil, "", &exit.UsageError{Err: errors.New("no profile to write the hosts of"), Remedy: "name one with --profile"}
	}
	files, err = hosts.Files(cfg.Registry.Hosts, settings.Hosts(cfg.Profile))
	if err != nil {
		return nil, "", exit.AsUsage(err)
	}
	if len(files) == 0 {
		return nil, "", exit.Usagef("profile %s has neither mirrors nor patterns that name a registry", cfg.Profile)
	}
	return files, cfg.Profile, nil
}

func hostsPath(dir string, f hosts.File) string {
	return filepath.Join(dir, f.Name, "hosts.toml")
}

// checkForeign refuses a file that hosts write did not write.
func checkForeign(path string) error {
	old, err := oldHosts(path)
	if old == nil || err != nil {
		return err
	}
	if bytes.HasPrefix(old, []byte(hostsMarker)) {
		return nil
	}
	return &exit.UsageError{Err: fmt.Errorf("%s was not written by %s", path, programName), Remedy: "move it away to have it replaced"}
}

// oldHosts reads a file that is to be replaced; it returns nil if there is none.
func oldHosts(path string) ([]byte, error) {
	old, err := userfile.Named(path, file.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return append([]byte{}, old.Data...), nil
}

// shownDiff returns the difference between two versions of hosts.toml without
// the values of headers, which may be secrets.
func shownDiff(path string, old, text []byte) []byte {
	hidden := diff.Diff(path, hideHeaders(old), path, hideHeaders(text))
	if hidden == nil && !bytes.Equal(old, text) {
		return fmt.Appendf(nil, "%s: only values of headers differ\n", path)
	}
	return hidden
}

// hideHeaders masks the values in tables named [host."URL".header].
func hideHeaders(text []byte) []byte {
	lines := strings.Split(string(text), "\n")
	header := false
	for i, line := range lines {
		name, _, _ := strings.Cut(line, " = ")
		switch {
		case strings.HasPrefix(line, "["):
			header = strings.HasSuffix(line, ".header]")
		case header && line != "", strings.HasPrefix(line, "header"):
			lines[i] = name + " = '***'"
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// writeHostsFile writes a file and prints its path, or prints what would
// change.
func (o *hostsOptions) writeHostsFile(path string, f hosts.File) error {
	if o.dryRun {
		old, err := oldHosts(path)
		if err != nil {
			return err
		}
		_, err = io.WriteString(o.streams.out, printable.Text(string(shownDiff(path, old, f.Text))))
		return exit.AsOutput(err)
	}
	mode := fs.FileMode(0o644)
	if f.Secret {
		mode = 0o600
	}
	if err := userfile.MakeFolder(path); err != nil {
		return err
	}
	if err := userfile.Write(path, f.Text, mode); err != nil {
		return err
	}
	_, err := fmt.Fprintln(o.streams.out, printable.Line(path))
	return exit.AsOutput(err)
}
