package display

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

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

// Options are how to show a call. Only Out has to be set.
type Options struct {
	// Mode is one of Modes; empty means ModeAuto.
	Mode string
	// Out is written to. It counts as a terminal if it has a method Fd, as *os.File
	// does, and that descriptor is one.
	Out io.Writer
	// Quiet shows nothing, not even warnings; only what goes through Writer
	// still appears. It excludes every mode but ModeAuto and ModeNone.
	Quiet bool
	// Env looks up NO_COLOR, TERM, COLUMNS and the locale (LC_ALL, LC_CTYPE,
	// LANG); nil means that none is set.
	Env func(name string) string
	// Classify describes an error in the JSON stream; nil describes it by its
	// message alone.
	Classify func(error) progress.Failure
}

// Validate returns what is wrong with the options.
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

// Redraws reports whether the display is a region of a terminal, rather than lines.
func (o Options) Redraws() bool { return o.mode() == ModeTTY }

// terminal returns the descriptor of the terminal that Out is, if it is one.
func (o Options) terminal() (fd int, ok bool) {
	file, ok := o.Out.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	fd = int(file.Fd())
	return fd, term.IsTerminal(fd)
}

// renderer returns the renderer of the mode, how often it draws without being
// woken, and whether events wake it. One that is not woken draws at that pace
// only.
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
