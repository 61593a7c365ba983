package display

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// The modes of a display.
const (
	ModeAuto  = "auto"  // ModeTTY on a terminal, else ModePlain; with Quiet ModeNone
	ModeTTY   = "tty"   // one region that is redrawn in place
	ModePlain = "plain" // one line per change of state
	ModeJSON  = "json"  // one JSON object per event and line
	ModeNone  = "none"  // warnings only
)

// Modes lists the values of Options.Mode.
func Modes() []string {
	return []string{ModeAuto, ModeTTY, ModePlain, ModeJSON, ModeNone}
}

// Options say how to show a call. Only Out has to be set.
type Options struct {
	// Mode is one of Modes; empty means ModeAuto.
	Mode string
	// Out takes the display. It is a terminal if it has a method Fd, as *os.File
	// does, and that descriptor is one.
	Out io.Writer
	// Quiet shows nothing, not even warnings; only what goes through Writer
	// still appears. It excludes every mode but ModeAuto and ModeNone.
	Quiet bool
	// Env looks up NO_COLOR, TERM, COLUMNS and the locale (LC_ALL, LC_CTYPE,
	// LANG); nil means that none is set.
	Env func(name string) string
	// Classify describes an error in the JSON stream; nil leaves it at its
	// message.
	Classify func(error) progress.Failure
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if o.Out == nil {
		return fmt.Errorf("no output for the display")
	}
	if o.Mode != "" && !slices.Contains(Modes(), o.Mode) {
		return fmt.Errorf("unknown progress mode %q: want one of %s", o.Mode, strings.Join(Modes(), ", "))
	}
	if o.Quiet && !slices.Contains([]string{"", ModeAuto, ModeNone}, o.Mode) {
		return fmt.Errorf("progress mode %q cannot be quiet", o.Mode)
	}
	return nil
}

func (o Options) env(name string) string {
	if o.Env == nil {
		return ""
	}
	return o.Env(name)
}

// mode resolves ModeAuto.
func (o Options) mode() string {
	_, terminal := o.terminal()
	switch {
	case o.Mode != "" && o.Mode != ModeAuto:
		return o.Mode
	case o.Quiet:
		return ModeNone
	case terminal && o.env("TERM") != "dumb":
		return ModeTTY
	}
	return ModePlain
}

// terminal returns the descriptor of the terminal that Out is, if it is one.
func (o Options) terminal() (fd int, ok bool) {
	file, ok := o.Out.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	fd = int(file.Fd())
	return fd, term.IsTerminal(fd)
}

// renderer turns events into text. It is used by one goroutine at a time.
type renderer interface {
	// event is told of e, which is part of s already.
	event(s *progress.State, e progress.Event)
	// line takes a log line without its newline.
	line(text string)
	// frame returns what is to be written by now. The last frame is final.
	frame(s *progress.State, now time.Time, final bool) []byte
}

// renderer returns the renderer of the mode and how often it wants to draw
// without being woken. A renderer that is not woken draws at that pace only.
func (o Options) renderer() (r renderer, period time.Duration, woken bool) {
	switch o.mode() {
	case ModeTTY:
		return newTTY(o), framePeriod, false
	case ModePlain:
		return newPlain(), time.Second, true
	case ModeJSON:
		return newJSON(o.Classify), time.Second, true
	}
	return &quiet{warnings: !o.Quiet}, time.Second, true
}

// Display shows events. Close must be called when the call is over: it draws
// the final frame.
type Display struct {
	out     io.Writer
	queue   *queue
	closing chan struct{}
	closed  sync.Once
	done    chan struct{}
	log     logWriter

	mu       sync.Mutex // guards what follows
	renderer renderer
	state    progress.State
	err      error // of the first write that failed; nothing is written after it
}

// New starts a display.
func New(o Options) (*Display, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r, period, woken := o.renderer()
	d := &Display{
		out:      o.Out,
		queue:    newQueue(),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
		renderer: r,
	}
	d.log.line = d.putLine
	var wake <-chan struct{}
	if woken {
		wake = d.queue.wake
	}
	go d.run(period, wake)
	return d, nil
}

// Sink takes the events to show. Events that come after Close are dropped.
func (d *Display) Sink() progress.Sink {
	return func(e progress.Event) { d.queue.put(item{event: e}) }
}

// Writer takes log lines. They appear above the region of a terminal, as events
// in the JSON stream, and as they are otherwise. After Close it still works.
func (d *Display) Writer() io.Writer { return &d.log }

// Close draws the final frame and returns the first error of writing. It may
// be called more than once.
func (d *Display) Close() error {
	d.closed.Do(func() {
		d.log.flush()
		d.queue.close()
		close(d.closing)
	})
	<-d.done
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// run draws until the display is closed.
func (d *Display) run(period time.Duration, wake <-chan struct{}) {
	defer close(d.done)
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-wake:
		case <-ticker.C:
		case <-d.closing:
			d.draw(d.queue.take(), true)
			return
		}
		d.draw(d.queue.take(), false)
	}
}

func (d *Display) draw(items []item, final bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, it := range items {
		if it.line != nil {
			d.renderer.line(*it.line)
			continue
		}
		d.state.Apply(it.event)
		d.renderer.event(&d.state, it.event)
	}
	frame := d.renderer.frame(&d.state, time.Now(), final)
	if len(frame) == 0 || d.err != nil {
		return
	}
	if _, err := d.out.Write(frame); err != nil {
		d.err = fmt.Errorf("writing progress: %w", err)
	}
}

// putLine queues a log line; once the display is closed it writes it itself.
func (d *Display) putLine(text string) {
	it := item{line: &text}
	if d.queue.put(it) {
		return
	}
	<-d.done
	d.draw([]item{it}, true)
}

// logWriter cuts what is written into lines.
type logWriter struct {
	line func(string)

	mu   sync.Mutex
	rest []byte // of the last line, whose end has not come yet
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		text, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		w.line(harmless(string(text)))
		w.rest = rest
	}
}

// flush passes on a last line that has no newline.
func (w *logWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.line(harmless(string(w.rest)))
		w.rest = nil
	}
}

// harmless is a log line without the colours of other programs.
func harmless(line string) string {
	return printable.Text(ansi.Strip(strings.TrimSuffix(line, "\r")))
}
