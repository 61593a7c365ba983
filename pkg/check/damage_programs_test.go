package check_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// programs run the command line of the program.
type programs struct {
	dir   string // with the program
	stage string // for stores: a tmpfs, on which to sync takes no time
	idle  chan *server
	bound chan *server // those whom permissions bind
}

// newPrograms builds the program, without the race detector, as the binary of its own
// tests: that can run many command lines in one process.
func newPrograms(t *testing.T) *programs {
	t.Helper()
	const servers = 4
	p := &programs{dir: t.TempDir(), stage: t.TempDir(), idle: make(chan *server, servers), bound: make(chan *server, servers)}
	binary := filepath.Join(p.dir, "test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "../../cmd/containerd-pull").CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	for _, name := range []string{"containerd-pull", "containerd-pull-serve"} {
		must(t, os.Symlink("test", filepath.Join(p.dir, name)))
	}
	must(t, unix.Mount("tmpfs", p.stage, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() {
		if err := unix.Unmount(p.stage, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for range servers {
		p.idle <- nil
		p.bound <- nil
	}
	t.Cleanup(func() {
		for range servers {
			(<-p.idle).stop(t)
			(<-p.bound).stop(t)
		}
	})
	return p
}

// root is the path of a new root, in a folder that goes with the test.
func (p *programs) root(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(p.stage, "")
	must(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "root")
}

// server runs one command line after the other.
type server struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	ask    *json.Encoder
	answer *json.Decoder
	stderr *bytes.Buffer
}

// run runs a command line, bound by permissions if bound is set, and returns its exit
// code and what it wrote. The end of the process is that of the test.
func (p *programs) run(t *testing.T, args []string, bound bool) (int, string) {
	t.Helper()
	pool := p.idle
	if bound {
		pool = p.bound
	}
	s := <-pool
	if s == nil {
		s = p.start(t, bound)
	}
	var done struct {
		Code int
		Text string
	}
	err := s.ask.Encode(args)
	if err == nil {
		err = s.answer.Decode(&done)
	}
	if err != nil { // it has ended
		s.stop(t)
		pool <- nil
		t.Fatalf("got %v from %s: %s", err, strings.Join(args, " "), s.stderr)
	}
	pool <- s
	return done.Code, done.Text
}

func (p *programs) start(t *testing.T, bound bool) *server {
	t.Helper()
	var line []string
	if bound {
		line = []string{"setpriv", "--bounding-set", "-dac_override,-dac_read_search"}
	}
	line = append(line, filepath.Join(p.dir, "containerd-pull-serve"))
	s := &server{cmd: exec.Command(line[0], line[1:]...), stderr: new(bytes.Buffer)}
	s.cmd.Env = append(os.Environ(), "GOGC=400") // memory is spared more than time is
	s.cmd.Stderr = s.stderr
	var err error
	s.in, err = s.cmd.StdinPipe()
	must(t, err)
	out, err := s.cmd.StdoutPipe()
	must(t, err)
	s.ask, s.answer = json.NewEncoder(s.in), json.NewDecoder(out)
	must(t, s.cmd.Start())
	return s
}

// stop ends the process; nil is none.
func (s *server) stop(t *testing.T) {
	if s == nil {
		return
	}
	if err := errors.Join(s.in.Close(), s.cmd.Wait()); err != nil {
		t.Errorf("ending the program: %v: %s", err, s.stderr)
	}
}

// trace runs a command line in a process of its own, in which reads of a file fail.
func (p *programs) trace(t *testing.T, file string, args []string) (int, string) {
	t.Helper()
	line := []string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=read,pread64", "-e", "inject=read,pread64:error=EIO", "-P", file, filepath.Join(p.dir, "containerd-pull")}
	cmd := exec.CommandContext(t.Context(), "strace", append(line, args...)...)
	text, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}
