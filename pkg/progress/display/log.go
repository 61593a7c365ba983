package display

import (
	"bytes"
	"strings"
	"sync"

	"github.com/charmbracelet/x/ansi"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

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

// harmless returns a log line that can be shown, without the colours of other
// programs.
func harmless(line string) string {
	return printable.Text(ansi.Strip(strings.TrimSuffix(line, "\r")))
}
