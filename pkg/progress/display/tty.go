package display

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

const (
	// framePeriod keeps redraws below 15 a second.
	framePeriod = 70 * time.Millisecond
	// calmPeriod is how often rates and estimates are redrawn while no event
	// comes.
	calmPeriod = 500 * time.Millisecond
	// The size of a screen that is no terminal is that of the first terminals.
	defaultWidth  = 80
	defaultHeight = 24
)

// tty renders a region at the end of the screen that is redrawn in place. Lines
// that stay are written above it.
type tty struct {
	size    func() (width, height int)
	color   bool
	unicode bool

	buf     bytes.Buffer
	lines   []string // to be written above the region with the next frame
	dirty   bool     // an event came since the last frame
	over    bool     // the final frame is drawn; only lines can follow
	cleared bool     // a question may stand in the line of the cursor
	drawn   time.Time
	region  []int // cells of each row on the screen
	width   int   // of the screen when the region was drawn
}

func newTTY(o Options) *tty {
	return &tty{
		size:    o.size,
		color:   o.env("NO_COLOR") == "" && o.env("TERM") != "dumb",
		unicode: o.unicode(),
	}
}

// unicode reports whether the terminal shows UTF-8, by its locale. The console
// of the kernel does, but its fonts lack the characters of the bars.
func (o Options) unicode() bool {
	locale := cmp.Or(o.env("LC_ALL"), o.env("LC_CTYPE"), o.env("LANG"))
	locale = strings.ReplaceAll(strings.ToLower(locale), "-", "")
	return strings.Contains(locale, "utf8") && o.env("TERM") != "linux"
}

// size returns the size of the screen. COLUMNS wins over the terminal's width.
func (o Options) size() (width, height int) {
	width, height = defaultWidth, defaultHeight
	if fd, ok := o.terminal(); ok {
		if w, h, err := term.GetSize(fd); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	if columns, err := strconv.Atoi(o.env("COLUMNS")); err == nil && columns > 0 {
		width = columns
	}
	return width, height
}

func (t *tty) line(text string) { t.lines = append(t.lines, text) }

func (t *tty) event(s *progress.State, e progress.Event) {
	t.dirty = true
	switch e.Kind {
	case progress.Warning, progress.Ended, progress.Registered, progress.Summary:
		if text := permanent(s, e); text != "" {
			t.line(text)
		}
	}
}

// frame draws the region when something changed, and in the end. The final
// region shows where a pull stopped; it is empty if every image has its closing
// line.
func (t *tty) frame(s *progress.State, now time.Time, final bool) []byte {
	width, height := t.size()
	if !final && !t.due(now, width) {
		return nil
	}
	t.dirty, t.drawn = false, now
	var rows []string
	if !t.over {
		rows = view{width: width - 1, height: height - 1, now: now, color: t.color, unicode: t.unicode}.rows(s)
	}
	if t.cleared {
		t.buf.WriteString("\r" + ansi.EraseLineRight)
		t.cleared = false
	}
	cells := widths(rows)
	t.rewind(width, len(rows))
	t.print(rows, cells)
	t.region, t.width = cells, width
	if final {
		t.region, t.over = nil, true
	}
	return drain(&t.buf)
}

// clear takes the region off the screen until the next frame, which begins by erasing
// the line in which a question was asked.
func (t *tty) clear() []byte {
	t.rewind(t.width, 0)
	t.region, t.dirty, t.cleared = nil, true, true
	return drain(&t.buf)
}

func (t *tty) due(now time.Time, width int) bool {
	return t.dirty || len(t.lines) > 0 || width != t.width || now.Sub(t.drawn) >= calmPeriod
}

// rewind moves the cursor to the first cell of the region, and erases the region
// unless print can write over it row by row. Terminals fold rows that have become
// too long for a narrower screen, hence the division.
func (t *tty) rewind(width, rows int) {
	height := 0
	for _, cells := range t.region {
		height += max(1, (cells+width-1)/width)
	}
	if height == 0 {
		return
	}
	t.buf.WriteString("\r" + ansi.CursorUp(height))
	if width == t.width && len(t.lines) == 0 && rows > 0 {
		return
	}
	// Not with EraseScreenBelow: tmux keeps in its history what is erased from the
	// first cell of the screen on.
	t.buf.WriteString(strings.Repeat(ansi.EraseLineRight+"\n", height) + ansi.CursorUp(height))
}

// print writes the lines that stay and then the rows. Wrapping is off for the
// rows: if the screen has just become narrower, they are cut, not folded. A row
// that is shorter than the one before it erases that first, and as a whole:
// terminals remember what was erased at the end of a row as blanks, which they
// fold.
func (t *tty) print(rows []string, cells []int) {
	for _, text := range t.lines {
		t.buf.WriteString(text + "\n")
	}
	t.lines = nil
	if len(rows) == 0 {
		return
	}
	t.buf.WriteString(ansi.ResetModeAutoWrap)
	for i, row := range rows {
		if i < len(t.region) && cells[i] < t.region[i] {
			t.buf.WriteString(ansi.EraseLineRight)
		}
		t.buf.WriteString(row + "\n")
	}
	t.buf.WriteString(ansi.SetModeAutoWrap)
	if len(t.region) > len(rows) {
		t.buf.WriteString(ansi.EraseScreenBelow)
	}
}

func widths(rows []string) []int {
	cells := make([]int, len(rows))
	for i, row := range rows {
		cells[i] = ansi.StringWidth(row)
	}
	return cells
}
