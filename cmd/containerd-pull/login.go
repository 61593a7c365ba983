package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/terminal"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type loginOptions struct {
	options
	format string
}

func newLoginCmd(s streams, caller config.Caller) *cobra.Command {
	o := &loginOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "login [flags] [REGISTRY]",
		Short:                 "Try a password and keep it where docker, nerdctl and podman find it",
		DisableFlagsInUseLine: true,
		Args:                  atMostOne,
		RunE:                  func(cmd *cobra.Command, args []string) error { return passwordMeant(runLogin(cmd.Context(), o, args)) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.LoginSettings())
	addFormat(cmd, &o.format)
	return cmd
}

func newLogoutCmd(s streams, caller config.Caller) *cobra.Command {
	o := &loginOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "logout [flags] [REGISTRY]",
		Short:                 "Remove the password that login keeps",
		DisableFlagsInUseLine: true,
		Args:                  atMostOne,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runLogout(cmd.Context(), o, args) },
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.LogoutSettings())
	addFormat(cmd, &o.format)
	return cmd
}

// passwordMeant adds to the error for a profile that does not exist what -p is: to
// docker login it is a password.
func passwordMeant(err error) error {
	if _, ok := errors.AsType[*config.UnknownProfile](err); !ok {
		return err
	}
	return &exit.UsageError{Err: err, Remedy: "-p names a profile; a password comes from --password-stdin, or is asked for on the terminal"}
}

// registryOf returns the registry that is named, else Docker Hub.
func registryOf(args []string) (source.Ref, error) {
	if len(args) == 0 {
		return source.RegistryRef(source.DockerHub), nil
	}
	name := args[0]
	for _, scheme := range []string{"https://", "http://"} {
		name = strings.TrimPrefix(name, scheme)
	}
	for _, end := range []string{"/", "/v1", "/v2"} {
		name = strings.TrimSuffix(name, end)
	}
	ref, err := source.ParseRef(name + "/x")
	if err != nil || ref.TypedHost() != name || ref.Path != "x" && ref.Path != "library/x" {
		return ref, &exit.UsageError{
			Err:    fmt.Errorf("%q names no registry", args[0]),
			Remedy: "a registry is a host, such as registry.example.com or localhost:5000, without the name of an image",
		}
	}
	return source.RegistryRef(name), nil
}

func runLogin(ctx context.Context, o *loginOptions, args []string) error {
	cfg, ref, err := o.read(args)
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, cfg)
	defer cancel()
	place := cfg.CredentialOptions(o.caller, nil)
	place.Shared = o.sharedCredentials()
	file, err := place.LoginFile()
	if err != nil {
		return exit.AsUsage(err)
	}
	if cfg.Login.User+cfg.Login.Username == "" && !cfg.Login.PasswordStdin {
		if cfg.Login.Username, err = askName(ctx, ref.Name); err != nil {
			return err
		}
	}
	cred, err := login(ctx, o.streams, cfg, []source.Ref{ref})
	if err != nil {
		return err
	}
	if cred.Password == "" {
		return exit.Usagef("the password is empty")
	}
	asked, err := o.try(ctx, cfg, ref, *cred)
	if err != nil {
		return err
	}
	helper, err := file.Store(ctx, ref.Domain, *cred)
	if err != nil {
		return asWriting(err)
	}
	if !asked {
		o.warn(ref.Domain + " asks for no password, so it is not known whether this one is right")
	}
	o.warn(o.surprises(ctx, place, ref, cred)...)
	shown := output.NewLogin(ref.Domain, cred.Username, file, helper, asked)
	return writeFormatted(o.streams.out, o.format, shown, shown.Write)
}

// read resolves the settings for the registry of the arguments.
func (o *loginOptions) read(args []string) (*config.Config, source.Ref, error) {
	ref, err := registryOf(args)
	if err == nil {
		err = checkFormat(o.format)
	}
	if err != nil {
		return nil, ref, err
	}
	settings, cfg, err := o.resolve(ref)
	if err != nil {
		return nil, ref, err
	}
	o.warn(settings.Warnings()...)
	return cfg, ref, nil
}

// try logs in with cred. asked is false if the registry wanted no credential. Its
// mirrors do not matter, and get none.
func (o *loginOptions) try(ctx context.Context, cfg *config.Config, ref source.Ref, cred credential.Credential) (asked bool, err error) {
	opts := cfg.Registry
	opts.UserAgent = userAgent()
	opts.Hosts.Mirrors, opts.Hosts.Login = nil, true
	opts.Hosts.Warn = func(message string) { o.warn(message) }
	opts.Credentials = func(_ context.Context, host string, _ source.Ref) (credential.Credential, error) {
		if !source.SameHost(host, ref.Domain) {
			return credential.Credential{}, nil
		}
		asked = true
		return cred, nil
	}
	reg, err := registry.New(opts)
	if err != nil {
		return false, exit.AsUsage(err)
	}
	err = reg.Login(ctx, ref.Domain)
	return asked, store.WithCause(ctx, err)
}

// asWriting makes a file that cannot be written a fault of the command line, unless
// the disk is to blame.
func asWriting(err error) error {
	if store.IsStorage(err) || exit.Code(err) != 1 {
		return err
	}
	return exit.AsUsage(err)
}

// surprises says why pulls would not use what is kept now.
func (o *loginOptions) surprises(ctx context.Context, place credential.Options, ref source.Ref, kept *credential.Credential) []string {
	var all []string
	if user := o.caller.Getenv("SUDO_USER"); user != "" {
		all = append(all, fmt.Sprintf("under sudo this is the login of root; what %s runs without sudo does not find it", user))
	}
	place.Shared = o.sharedCredentials() // one that remembers no answer from before
	find, err := credential.New(place)
	if err != nil {
		return append(all, "pulls cannot look for credentials: "+err.Error())
	}
	found, err := find(ctx, source.ContactedHost(ref.Domain), ref)
	switch {
	case err != nil:
		return append(all, "pulls do not come as far as this login: "+err.Error())
	case found.Username != kept.Username || found.Password != kept.Password:
		return append(all, fmt.Sprintf("pulls of %s use another credential before this one: %s", ref.Domain, found.Source))
	}
	return all
}

func runLogout(ctx context.Context, o *loginOptions, args []string) error {
	cfg, ref, err := o.read(args)
	if err != nil {
		return err
	}
	place := cfg.CredentialOptions(o.caller, nil)
	place.Shared = o.sharedCredentials()
	file, err := place.LoginFile()
	if err != nil {
		return exit.AsUsage(err)
	}
	done, err := file.Erase(ctx, ref.Domain)
	if err != nil {
		return asWriting(err)
	}
	o.warn(o.remaining(ctx, place, ref)...)
	shown := output.NewLogout(ref.Domain, file, done)
	return writeFormatted(o.streams.out, o.format, shown, shown.Write)
}

// remaining says what pulls still send to the registry.
func (o *loginOptions) remaining(ctx context.Context, place credential.Options, ref source.Ref) []string {
	place.Shared = o.sharedCredentials()
	find, err := credential.New(place)
	if err != nil {
		return []string{"pulls cannot look for credentials: " + err.Error()}
	}
	found, err := find(ctx, source.ContactedHost(ref.Domain), ref)
	switch {
	case err != nil:
		return []string{"looking for other credentials: " + err.Error()}
	case found.IsSecret():
		return []string{fmt.Sprintf("pulls of %s still use a credential from %s", ref.Domain, found.Source)}
	}
	return nil
}

// askName asks on the terminal for the name of the user.
func askName(ctx context.Context, registry string) (string, error) {
	name, err := terminal.Ask(ctx, fmt.Sprintf("User of %s: ", registry))
	if err != nil {
		return "", noTerminal(err, "no user is named, and there is no terminal to ask for one", "--username NAME --password-stdin reads the password from the standard input")
	}
	if name = strings.TrimSpace(name); name == "" {
		return "", exit.Usagef("the name of the user is empty")
	}
	return name, nil
}
