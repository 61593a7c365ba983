package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
)

// login makes the credential of the command line, asking for what it lacks.
func login(ctx context.Context, s streams, cfg *config.Config, refs []registry.Ref) (registry.Credentials, error) {
	cred := registry.Credential{Source: "command line", IdentityToken: cfg.Login.Refresh}
	if cfg.Login.User == "" && cfg.Login.Refresh == "" {
		return nil, nil
	}
	if err := oneHost(refs); err != nil {
		return nil, err
	}
	if cfg.Login.User != "" {
		if err := userAndPassword(ctx, s, cfg, refs[0].Domain, &cred); err != nil {
			return nil, err
		}
	}
	return registry.OwnHost(cred), nil
}

// oneHost refuses a credential that would have to serve several registries,
// because it would be shown to those that it was not meant for.
func oneHost(refs []registry.Ref) error {
	for _, ref := range refs {
		if ref.Domain != refs[0].Domain {
			return usagef("--user and --refresh are for one registry: got references on %s and %s", refs[0].Domain, ref.Domain)
		}
	}
	return nil
}

func userAndPassword(ctx context.Context, s streams, cfg *config.Config, host string, cred *registry.Credential) error {
	name, password, given := strings.Cut(cfg.Login.User, ":")
	if name == "" {
		return usagef("--user: got no name before the colon")
	}
	if given && !cfg.Quiet {
		fmt.Fprintf(s.err, "%s: warning: others can read the password on the command line; leave it out to be asked for it\n", programName)
	}
	if !given {
		var err error
		if password, err = askPassword(ctx, fmt.Sprintf("Password of %s for %s: ", name, host)); err != nil {
			return err
		}
	}
	cred.Username, cred.Password = name, password
	return nil
}

// askPassword asks on the terminal that controls the process, whatever the
// streams are connected to.
func askPassword(ctx context.Context, prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", &usageError{
			err:  errors.New("--user without a password, and no terminal to ask for it"),
			hint: "--user NAME:PASSWORD gives it on the command line",
		}
	}
	defer tty.Close()
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("preparing the terminal: %w", err)
	}
	defer term.Restore(fd, before) // of no use to complain: the terminal is gone
	fmt.Fprint(tty, prompt)
	defer fmt.Fprintln(tty)
	return readPassword(ctx, fd)
}

// readPassword leaves the read behind when the context ends: nothing but the
// user can end it, and the process is about to.
func readPassword(ctx context.Context, fd int) (string, error) {
	type answer struct {
		password []byte
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		password, err := term.ReadPassword(fd)
		answers <- answer{password, err}
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case a := <-answers:
		if a.err != nil {
			return "", fmt.Errorf("reading the password: %w", a.err)
		}
		return string(a.password), nil
	}
}
