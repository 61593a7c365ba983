package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// Probe finds what a configuration names and a pull would miss: files that
// cannot be read, programs that do not exist. It opens no connection.
func (c *Config) Probe() []error {
	var wrong []error
	_, err := registry.New(c.Registry)
	wrong = append(wrong, err)
	for _, dir := range c.Registry.Hosts.Dirs {
		if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			wrong = append(wrong, fmt.Errorf("hosts_dir %s: %w", dir, file.Reason(err)))
		}
	}
	for i, m := range c.Registry.Hosts.Mirrors {
		for _, file := range []string{m.CA, m.Cert, m.Key} {
			wrong = append(wrong, readable(fmt.Sprintf("mirrors[%d]", i), file))
		}
	}
	for i, e := range c.Credentials {
		where := fmt.Sprintf("credentials[%d]", i)
		for _, file := range []string{e.PasswordFile, e.TokenFile, e.Config} {
			wrong = append(wrong, readable(where, file))
		}
		wrong = append(wrong, helperThere(where, e.Helper))
		for _, words := range [][]string{e.PasswordCommand, e.TokenCommand} {
			if len(words) > 0 {
				wrong = append(wrong, programThere(where, words[0]))
			}
		}
	}
	wrong = append(wrong, readable("authfile", c.AuthFile))
	return drop(wrong)
}

func drop(errs []error) []error {
	var kept []error
	for _, err := range errs {
		if err != nil {
			kept = append(kept, err)
		}
	}
	return kept
}

func readable(where, path string) error {
	if path == "" {
		return nil
	}
	_, err := userfile.Named(path, file.MaxSize)
	if _, ok := errors.AsType[*userfile.Foreign](err); ok {
		return fmt.Errorf("%s: %w", where, err)
	}
	hint := "correct the file, or the line that names it"
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		hint = "write this file, or correct the line that names it"
	case errors.Is(err, fs.ErrPermission):
		hint = "the user who pulls has to be allowed to read this file"
	}
	return failure.New(errdefs.ErrFailedPrecondition, "%s: %s: %w", where, path, file.Reason(err)).WithHint("%s", hint)
}

func helperThere(where, helper string) error {
	if helper == "" {
		return nil
	}
	return programThere(where, "docker-credential-"+helper)
}

func programThere(where, name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return failure.New(errdefs.ErrFailedPrecondition, "%s: program %q: not found on PATH", where, name).
			WithHint("install it where PATH finds it, or correct the line that names it")
	}
	return nil
}
