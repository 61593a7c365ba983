package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/terminal"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// login returns the credential of the command line, after asking for a password
// that is missing. It is nil if no credential was given.
func login(ctx context.Context, s streams, cfg *config.Config, refs []source.Ref) (*credential.Credential, error) {
	l := cfg.Login
	if l.PasswordStdin && l.User+l.Username == "" {
		return nil, exit.Usagef("--password-stdin needs --username or --user")
	}
	if l.User+l.Username+l.Refresh == "" {
		return nil, nil
	}
	if err := oneHost(refs); err != nil {
		return nil, err
	}
	if l.Refresh != "" {
		return &credential.Credential{IdentityToken: l.Refresh, Source: "command line"}, nil
	}
	return userAndPassword(ctx, s, cfg, refs[0].Domain)
}

// oneHost refuses references on several registries: the credential would be
// sent to registries that it was not meant for.
func oneHost(refs []source.Ref) error {
	for _, ref := range refs {
		if ref.Domain != refs[0].Domain {
			return exit.Usagef("a credential of the command line is for one registry: got references on %s and %s", refs[0].Domain, ref.Domain)
		}
	}
	return nil
}

func userAndPassword(ctx context.Context, s streams, cfg *config.Config, host string) (*credential.Credential, error) {
	name, password, given := strings.Cut(cfg.Login.User, ":")
	if cfg.Login.Username != "" {
		name = cfg.Login.Username
	}
	var err error
	switch {
	case name == "" || strings.Contains(name, ":"):
		return nil, exit.Usagef("the name of a user is empty or holds a colon")
	case given && cfg.Login.PasswordStdin:
		return nil, exit.Usagef("--user with a password and --password-stdin exclude each other")
	case given && !cfg.Quiet:
		fmt.Fprintf(s.err, "%s: warning: others can read the password on the command line; --password-stdin hides it\n", programName)
	case given:
	case cfg.Login.PasswordStdin:
		password, err = readLine(s.in)
	default:
		password, err = terminal.AskSecret(ctx, fmt.Sprintf("Password of %s for %s: ", name, host))
		err = noTerminal(err, "--user without a password, and no terminal to ask for it", "--password-stdin reads it from the standard input")
	}
	if err != nil {
		return nil, err
	}
	return &credential.Credential{Username: name, Password: password, Source: "command line"}, nil
}

// readLine reads a password from the first line of r.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", exit.Usagef("--password-stdin: got no password")
	}
	return line, nil
}

// noTerminal words the error of a question that could not be asked.
func noTerminal(err error, lacking, remedy string) error {
	if errors.Is(err, terminal.ErrNone) {
		return &exit.UsageError{Err: errors.New(lacking), Remedy: remedy}
	}
	return err
}
