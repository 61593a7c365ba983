package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker-credential-helpers/credentials"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

const (
	// programTimeout bounds how long a program without a terminal may take: enough
	// for the API of a cloud, and an end for a program that waits for input.
	programTimeout = 30 * time.Second
	// maxProgramOutput and maxComplaint bound, in bytes, what is kept of a
	// program's standard output and standard error.
	maxProgramOutput = 1 << 20
	maxComplaint     = 4 << 10
)

// program is a foreign program that gives out a credential. Secrets go through
// its streams, never through its arguments.
type program struct {
	path     string
	args     []string
	env      []string // in addition to that of the process
	stdin    string
	detached bool // without a terminal and the variables that lead to one
}

// maxFile bounds, in bytes, a file with credentials or secrets.
const maxFile = 16 << 20

// readNamed reads a file that a configuration or the caller names.
func readNamed(path string) ([]byte, error) {
	content, err := userfile.Named(path, maxFile)
	return content.Data, err
}

// findProgram finds a program on PATH. A configuration that could name any
// file would be a way to run anything.
func findProgram(name string) (string, error) {
	if name == "" || strings.ContainsAny(name, `/\`) || strings.Contains(name, "..") {
		return "", fmt.Errorf("program %q: want a name to be found on PATH", name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("program %q: not found on PATH", name)
	}
	return path, nil
}

// output returns what the program writes to its standard output. On a terminal,
// which may be nil, it takes the time that a person needs, and its complaints are
// seen there: they may be questions. The program and all that it started end with
// the context, and without a terminal when its time is up.
func (p program) output(ctx context.Context, tty *os.File) ([]byte, error) {
	if tty == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, programTimeout, fmt.Errorf("no answer within %s", programTimeout))
		defer cancel()
	}
	out, errOut := boundedBuffer{most: maxProgramOutput}, boundedBuffer{most: maxComplaint}
	cmd := p.command(ctx, tty != nil)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if tty != nil {
		cmd.Stderr = io.MultiWriter(&errOut, tty)
	}
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, withComplaint(context.Cause(ctx), errOut.kept)
	case err != nil:
		return out.kept, withComplaint(err, errOut.kept)
	}
	return out.kept, nil
}

// command is the program in the process group that suits it: that of this process
// on its terminal, else one of its own.
func (p program) command(ctx context.Context, onTerminal bool) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdin = strings.NewReader(p.stdin)
	cmd.WaitDelay = time.Second
	switch {
	case onTerminal:
		cmd.Cancel = func() error { killTree(cmd.Process.Pid); return nil }
		return cmd
	case p.detached:
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the group is its own then, too
		cmd.Env = slices.DeleteFunc(cmd.Env, pointsToPerson)
	default:
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// pointsToPerson reports whether programs find a terminal or a screen, on which
// they could ask a person, by this variable.
func pointsToPerson(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{"GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS"}, name)
}

// withComplaint adds what the program wrote to its standard error.
func withComplaint(err error, complaint []byte) error {
	text := complaintOf(complaint)
	if text == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, text)
}

// boundedBuffer keeps the first bytes of what is written and takes the rest, so
// that a program that says too much does not hang. It embeds nothing: io.Copy
// would prefer a promoted ReadFrom, which knows no bound, to Write.
type boundedBuffer struct {
	kept []byte
	most int
}

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[:min(len(p), b.most-len(b.kept))]...)
	return len(p), nil
}

// runHelper speaks the protocol of Docker's credential helpers: the server on
// standard input, a JSON document on standard output, or there the reason of a
// failure.
func (q question) runHelper(ctx context.Context, helper, server string) (Credential, bool, error) {
	path, err := findProgram("docker-credential-" + helper)
	if err != nil {
		return Credential{}, false, unusable(fmt.Sprintf("install docker-credential-%s, or take it out of the configuration that names it", helper), "%w", err)
	}
	out, err := q.shared.ask(ctx, program{path: path, args: []string{"get"}, stdin: server, detached: q.detached})
	hint := fmt.Sprintf("run this to see why: echo %s | docker-credential-%s get", server, helper)
	if err != nil {
		if credentials.IsErrCredentialsNotFoundMessage(strings.TrimSpace(string(out))) {
			return Credential{}, false, nil
		}
		if reason := reasonOf(out); reason != "" {
			return Credential{}, false, unusable(hint, "getting the credential of %s: %w: %s", server, err, reason)
		}
		return Credential{}, false, unusable(hint, "getting the credential of %s: %w", server, err)
	}
	cred, found, err := readHelperAnswer(out)
	if err != nil {
		err = unusable(hint, "%w", err)
	}
	return cred, found, err
}

func readHelperAnswer(out []byte) (Credential, bool, error) {
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return Credential{}, false, errors.New("answered with something else than JSON")
	}
	if answer.Secret == "" {
		return Credential{}, false, nil
	}
	if answer.Username == "<token>" {
		return Credential{IdentityToken: answer.Secret}, true, nil
	}
	return Credential{Username: answer.Username, Password: answer.Secret}, true, nil
}
