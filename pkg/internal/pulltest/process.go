package pulltest

import (
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

// process is a program that runs until it is told to stop, its output in a
// file.
type process struct {
	cmd    *exec.Cmd
	log    string        // path of its output, appended over restarts
	exited chan struct{} // closed when it has ended and err is set
	err    error
}

// startProcess runs the program in a process group of its own, so that an
// interrupt of the test run does not kill it before its clean-up, and so that it
// dies with a test run that has none.
func startProcess(log string, env []string, program string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening log of %s: %w", filepath.Base(program), err)
	}
	defer out.Close()
	p := &process{cmd: exec.Command(program, args...), log: log, exited: make(chan struct{})}
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
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
	close(p.exited)
}

// stop asks the process to end, and kills it if it does not within 10 s.
func (p *process) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(fmt.Errorf("stopping %s: still running after 10 s", p.name()), p.kill())
	}
}

// kill ends the process as a crash would.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", s, p.name(), err)
	}
	return nil
}

func (p *process) name() string { return filepath.Base(p.cmd.Path) }

// dead is the error of a process that ended by itself, nil while it runs.
func (p *process) dead() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %v\n%s", p.name(), p.err, tail(p.log, 20))
	default:
		return nil
	}
}

// tail is the last lines of a file, or why there are none.
func tail(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}
