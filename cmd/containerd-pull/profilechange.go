package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/terminal"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

func newProfileEditCmd(s streams, caller config.Caller) *cobra.Command {
	o := &profileOptions{options: options{streams: s, caller: caller}}
	cmd := newProfileCmd(o, "edit [flags] NAME", "Edit the file that holds a profile, and check it before it is written", runProfileEdit)
	cmd.Args = exactlyOne
	return cmd
}

func newProfileRmCmd(s streams, caller config.Caller) *cobra.Command {
	o := &profileOptions{options: options{streams: s, caller: caller}}
	cmd := newProfileCmd(o, "rm [flags] NAME", "Remove a profile from the file that holds it", runProfileRm)
	cmd.Args = exactlyOne
	return cmd
}

// holder returns the file that holds a profile. Mistakes in it do not matter: they may
// be why it is edited.
func (o *profileOptions) holder(name string) (settings *config.Settings, path string, line int, err error) {
	if settings, err = config.Read(o.caller, o.flags); err != nil {
		return nil, "", 0, exit.AsUsage(err)
	}
	named, err := o.flags.NamedFile(o.caller)
	if err == nil {
		path, line, err = settings.Holder(name, named)
	}
	return settings, path, line, exit.AsUsage(err)
}

func runProfileRm(_ context.Context, o *profileOptions, args []string) error {
	settings, path, _, err := o.holder(args[0])
	if err != nil {
		return err
	}
	if users := settings.Dependents(args[0]); len(users) > 0 {
		return stays(args[0], users)
	}
	if err := config.RemoveProfile(path, args[0]); err != nil {
		return writeError(err)
	}
	_, err = fmt.Fprintln(o.streams.out, printable.Line(path))
	return exit.AsOutput(err)
}

// stays is the error for a profile that others need.
func stays(name string, users []config.Dependent) error {
	var texts, edits []string
	for _, u := range users {
		texts = append(texts, u.Text)
		if u.Profile != "" {
			edits = append(edits, programName+" profile edit "+u.Profile)
		}
	}
	remedy := "change that first"
	if len(edits) > 0 {
		remedy += ": " + strings.Join(edits, ", ")
	}
	return &exit.UsageError{Err: fmt.Errorf("profile %s stays: %s", name, strings.Join(texts, ", ")), Remedy: remedy}
}

// writeError is the error of writing a configuration file: one of usage, unless it is
// of the file system.
func writeError(err error) error {
	if store.IsStorage(err) {
		return err
	}
	return exit.AsUsage(err)
}

func runProfileEdit(ctx context.Context, o *profileOptions, args []string) error {
	_, path, line, err := o.holder(args[0])
	if err != nil {
		return err
	}
	draft, err := config.OpenDraft(path, o.caller)
	if err != nil {
		return writeError(err)
	}
	if err := o.edit(ctx, draft, line); err != nil {
		return err
	}
	changed, err := draft.Save()
	if err != nil {
		return writeError(fmt.Errorf("%w; what was edited is in %s", err, draft.Path))
	}
	if !changed {
		fmt.Fprintln(o.streams.err, "nothing was changed")
	}
	_, err = fmt.Fprintln(o.streams.out, printable.Line(path))
	return errors.Join(exit.AsOutput(err), draft.Close())
}

// abandon ends an edit that failed or was interrupted. A copy that was changed stays.
func abandon(ctx context.Context, draft *config.Draft, err error) error {
	switch cause := context.Cause(ctx); {
	case cause != nil:
		err = cause
	case errors.Is(err, terminal.ErrInterrupted): // the terminal tells both, and the editor may end first
		err = &exit.SignalError{Signal: os.Interrupt}
	default:
		err = exit.AsUsage(err)
	}
	if draft.IsChanged() {
		return failure.New(err, "%v", err).WithHint("what was edited is in %s", draft.Path)
	}
	return errors.Join(err, draft.Close())
}

// edit runs the editor until the draft has no mistake, or the user gives up. A copy with
// mistakes stays: it is work.
func (o *profileOptions) edit(ctx context.Context, draft *config.Draft, line int) error {
	for {
		e := terminal.Editor{Getenv: o.caller.Getenv, In: o.streams.in, Out: o.streams.out, Err: o.streams.err}
		if err := e.Edit(ctx, draft.Path, line); err != nil {
			return abandon(ctx, draft, err)
		}
		wrong := draft.Check()
		if len(wrong) == 0 {
			return nil
		}
		for _, w := range wrong {
			exit.Write(o.streams.err, exit.AsUsage(w), o.caller)
		}
		answer, err := terminal.Ask(ctx, "Edit again? [Y/n] ")
		if ctx.Err() != nil {
			return abandon(ctx, draft, err)
		}
		if err != nil || strings.HasPrefix(strings.ToLower(answer), "n") {
			return &exit.UsageError{Err: errors.New("nothing was written"), Remedy: "what was edited is in " + draft.Path}
		}
		line = wrong[0].Line
	}
}
