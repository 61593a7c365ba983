package plugin_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a shell on a terminal of its own.
type terminal struct {
	t    *testing.T
	file *os.File
	mu   sync.Mutex
	seen []byte // since the last mark
	more chan struct{}
}

// open starts a shell and waits for its prompt.
func open(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, file: file, more: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		term.read()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		file.Close()
		<-ended
	})
	return term
}

func (s *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := s.file.Read(buf)
		s.mu.Lock()
		s.seen = append(s.seen, buf[:n]...)
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// escape are the sequences by which shells draw.
var escape = regexp.MustCompile(`\x1b(\[[0-9;?>=]*[a-zA-Z~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>78M])|[\r\x0e\x0f]`)

// shown is what the terminal showed since the last send.
func (s *terminal) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return escape.ReplaceAllString(string(s.seen), "")
}

// send types a text.
func (s *terminal) send(text string) {
	s.t.Helper()
	s.mu.Lock()
	s.seen = nil
	s.mu.Unlock()
	if _, err := s.file.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until all texts were shown.
func (s *terminal) expect(texts ...string) {
	s.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		missing := ""
		shown := s.shown()
		for _, text := range texts {
			if !strings.Contains(shown, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-s.more:
		case <-deadline:
			s.t.Fatalf("the terminal does not show %q but %q", missing, shown)
		}
	}
}

// clear discards the line that was typed.
func (s *terminal) clear() {
	s.t.Helper()
	s.send("\x15echo rea''dy\r") // Ctrl-U
	s.expect("ready")
}
