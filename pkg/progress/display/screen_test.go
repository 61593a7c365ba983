package display_test

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/creack/pty"
)

// screen is the terminal at the other end of a pty. It understands exactly
// what a display may send and reports everything else as an error, folds lines
// when it becomes narrower, and keeps what scrolls away.
type screen struct {
	t       *testing.T
	ptmx    *os.File
	tty     *os.File
	written atomic.Int64 // bytes that the display sent, as the terminal sees them
	read    atomic.Int64

	mu            sync.Mutex
	raw           []byte
	writes        int
	rows          []row // the last height of them are visible
	x, y          int   // of the cursor; y counts from the first of rows
	width, height int
	wrap          bool
	escape        []byte // sequence that is being read
}

type row struct {
	cells  []rune
	folded bool // goes on in the next row
}

func newScreen(t *testing.T, width, height int) *screen {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatalf("opening a pty: %v", err)
	}
	s := &screen{t: t, ptmx: ptmx, tty: tty, width: width, height: height, wrap: true, rows: []row{{}}}
	s.setSize(width, height)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.follow()
	}()
	t.Cleanup(func() {
		tty.Close()
		<-done
		ptmx.Close()
	})
	return s
}

// Fd makes a screen a terminal for the display.
func (s *screen) Fd() uintptr { return s.tty.Fd() }

// Write sends p through the pty, which turns each newline into two bytes.
func (s *screen) Write(p []byte) (int, error) {
	s.written.Add(int64(len(p) + strings.Count(string(p), "\n")))
	s.mu.Lock()
	s.writes++
	s.mu.Unlock()
	return s.tty.Write(p)
}

func (s *screen) follow() {
	buf := make([]byte, 4096)
	for {
		n, err := s.ptmx.Read(buf)
		s.mu.Lock()
		s.raw = append(s.raw, buf[:n]...)
		for _, r := range string(buf[:n]) {
			s.put(r)
		}
		s.mu.Unlock()
		s.read.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// sync waits until everything sent has arrived. It spins because the clock of
// a test bubble stands still meanwhile.
func (s *screen) sync() {
	for s.read.Load() < s.written.Load() {
		runtime.Gosched()
	}
}

func (s *screen) setSize(width, height int) {
	if err := pty.Setsize(s.ptmx, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		s.t.Fatalf("setting the size of the pty: %v", err)
	}
}

// resize changes the size and folds the rows anew, as terminals do.
func (s *screen) resize(width, height int) {
	s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setSize(width, height)
	old, y := s.rows, s.y
	s.rows, s.width, s.height = nil, width, height
	var logical []rune
	for i, r := range old {
		if i == y {
			s.y = len(s.rows)
		}
		logical = append(logical, r.cells...)
		if r.folded {
			continue
		}
		for len(logical) > width {
			s.rows = append(s.rows, row{logical[:width:width], true})
			logical = logical[width:]
		}
		s.rows = append(s.rows, row{logical, false})
		logical = nil
	}
}

// String is everything that was ever on the screen, without blanks at the end.
func (s *screen) String() string {
	s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, r := range s.rows {
		b.WriteString(strings.TrimRight(string(r.cells), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// bytes returns what was sent and in how many writes.
func (s *screen) bytes() (raw string, writes int) {
	s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.raw), s.writes
}

func (s *screen) put(r rune) {
	switch {
	case len(s.escape) > 0:
		s.escape = append(s.escape, string(r)...)
		if len(s.escape) > 2 && r >= '@' && r <= '~' {
			s.control(string(s.escape))
			s.escape = nil
		}
	case r == '\x1b':
		s.escape = []byte{'\x1b'}
	case r == '\r':
		s.x = 0
	case r == '\n':
		s.down(false)
	case r < ' ':
		s.t.Errorf("got control character %q on the screen", r)
	default:
		s.print(r)
	}
}

func (s *screen) print(r rune) {
	if s.x >= s.width {
		if !s.wrap {
			s.x = s.width - 1
		} else {
			s.down(true)
			s.x = 0
		}
	}
	cells := s.rows[s.y].cells
	for len(cells) <= s.x {
		cells = append(cells, ' ')
	}
	cells[s.x] = r
	s.rows[s.y].cells = cells
	s.x++
}

func (s *screen) down(folded bool) {
	s.rows[s.y].folded = folded
	s.y++
	if s.y == len(s.rows) {
		s.rows = append(s.rows, row{})
	}
}

func (s *screen) control(seq string) {
	final, args := seq[len(seq)-1], seq[2:len(seq)-1]
	switch {
	case final == 'A':
		n := 0
		for _, digit := range args {
			n = n*10 + int(digit-'0')
		}
		s.y = max(s.y-max(n, 1), len(s.rows)-s.height, 0)
	case final == 'K' && args == "":
		s.erase()
	case final == 'J' && args == "":
		s.erase()
		s.rows = s.rows[:s.y+1]
	case final == 'm':
	case args == "?7":
		s.wrap = final == 'h'
	default:
		s.t.Errorf("got sequence %q on the screen", seq)
	}
}

func (s *screen) erase() {
	cells := s.rows[s.y].cells
	s.rows[s.y] = row{cells: cells[:min(s.x, len(cells))]}
}
