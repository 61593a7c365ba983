// Package process runs the programs that tests need beside them, such as
// daemons, and sees to it that none outlives the test run.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is a program that runs until it is told to stop, its output in a
// file.
type Process struct {
	cmd     *exec.Cmd
	LogFile string        // path of its output, appended over restarts
	exited  chan struct{} // closed when it has ended and err is set
	err     error
}

// Start runs the program in a process group of its own, so that an
// interrupt of the test run does not kill it before its clean-up, and so that it
// dies with a test run that has none.
func Start(log string, env []string, program string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening log of %s: %w", filepath.Base(program), err)
	}
	defer out.Close()
	p := &Process{cmd: exec.Command(program, args...), LogFile: log, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(started) // ends with the process
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(program), err)
	}
	return p, nil
}

// run keeps its thread, because to the kernel the parent whose death kills the
// process is the thread that started it.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
	close(p.exited)
}

// PID is that of the program.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// startTime is how long a program may take until it is ready.
const startTime = 30 * time.Second

// Await returns when ready does not fail any more, or says why it never will.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if dead := p.Dead(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w\n%s", p.name(), err, Tail(p.LogFile, 20))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop asks the process to end, and kills it if it does not within 10 s.
func (p *Process) Stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(fmt.Errorf("stopping %s: still running after 10 s", p.name()), p.Kill())
	}
}

// Kill ends the process as a crash would.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", s, p.name(), err)
	}
	return nil
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

// Dead is the error of a process that ended by itself, nil while it runs.
func (p *Process) Dead() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %v\n%s", p.name(), p.err, Tail(p.LogFile, 20))
	default:
		return nil
	}
}

// Tail is the last lines of a file, or why there are none.
func Tail(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}
