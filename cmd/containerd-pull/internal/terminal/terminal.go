// Package terminal asks on the controlling terminal of the process, whatever the
// standard streams are.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// ErrNone says that the process has no terminal to ask on.
var ErrNone = errors.New("there is no terminal to ask on")

// AskSecret asks without echo.
func AskSecret(ctx context.Context, prompt string) (string, error) {
	return ask(ctx, prompt, func(fd int) ([]byte, error) {
		secret, err := term.ReadPassword(fd)
		_, _ = unix.Write(fd, []byte("\n")) // the one that was typed was not shown
		return secret, err
	})
}

// Ask asks for a line.
func Ask(ctx context.Context, prompt string) (string, error) { return ask(ctx, prompt, readVisible) }

// ask asks and reads the answer. If ctx is cancelled, the blocked read is abandoned
// and the state of the terminal restored; the process is exiting anyway.
func ask(ctx context.Context, prompt string, read func(fd int) ([]byte, error)) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", ErrNone
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
