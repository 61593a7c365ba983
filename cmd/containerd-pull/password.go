package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
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
		password, err = askPassword(ctx, fmt.Sprintf("Password of %s for %s: ", name, host))
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

// askPassword asks without echo.
func askPassword(ctx context.Context, prompt string) (string, error) {
	return askTerminal(ctx, prompt, func(fd int) ([]byte, error) {
		password, err := term.ReadPassword(fd)
		_, _ = unix.Write(fd, []byte("\n")) // the one that was typed was not shown
		return password, err
	})
}

// askTerminal asks on the controlling terminal of the process, regardless of the
// standard streams. If ctx is cancelled, the blocked read is abandoned and the
// state of the terminal restored; the process is exiting anyway.
func askTerminal(ctx context.Context, prompt string, read func(fd int) ([]byte, error)) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", &exit.UsageError{
			Err:    errors.New("--user without a password, and no terminal to ask for it"),
			Remedy: "--password-stdin reads it from the standard input",
		}
	}
	defer tty.Close()
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return "", fmt.Errorf("preparing the terminal: %w", err)
	}
	fmt.Fprint(tty, prompt)
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read(int(tty.Fd()))
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(int(tty.Fd()), before) // a terminal that has gone away needs no echo
		return "", context.Cause(ctx)
	case a := <-answers:
		if a.err != nil {
			return "", fmt.Errorf("reading the answer: %w", a.err)
		}
		return string(a.text), nil
	}
}

// readVisible reads a line that the terminal echoes. It reads one byte at a time,
// so that nothing of the next line is lost.
func readVisible(fd int) ([]byte, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 1<<10; {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0 || b[0] == '\n':
			return line, nil
		}
		line = append(line, b[0])
	}
	return nil, errors.New("the answer is too long")
}
