package terminal

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// ErrInterrupted says that the user interrupted the editor.
var ErrInterrupted = errors.New("the editor was interrupted")

const interrupted = 128 + int(syscall.SIGINT) // exit status of a shell

// Editor is the user's editor, with the streams that it gets.
type Editor struct {
	Getenv   func(string) string
	In       io.Reader
	Out, Err io.Writer
}

// Edit runs the editor that VISUAL or EDITOR names, else vi, on a file, and waits for
// its end. The variables are shell, so that they may have arguments. An editor that is
// known to understand it begins at the line. It is ErrInterrupted if the user ended it.
func (e Editor) Edit(ctx context.Context, path string, line int) error {
	command := cmp.Or(e.Getenv("VISUAL"), e.Getenv("EDITOR"), "vi")
	var args []string
	name, _, _ := strings.Cut(command, " ")
	if known := []string{"vi", "vim", "nvim", "nano", "emacs", "micro", "joe", "mg"}; line > 0 && slices.Contains(known, filepath.Base(name)) {
		args = append(args, "+"+strconv.Itoa(line))
	}
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", command + ` "$@"`, command}, append(args, path)...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.In, e.Out, e.Err
	err := cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		status, _ := ended.Sys().(syscall.WaitStatus)
		if status.Signal() == syscall.SIGINT || status.ExitStatus() == interrupted {
			return ErrInterrupted
		}
	}
	if err != nil {
		return failure.New(errdefs.ErrInvalidArgument, "running the editor %s: %v", command, err).WithHint("VISUAL or EDITOR names the editor")
	}
	return nil
}
