package display

import (
	"bytes"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// quiet renders log lines and, if asked for, warnings.
type quiet struct {
	warnings bool
	buf      bytes.Buffer
}

func (q *quiet) event(_ *progress.State, e progress.Event) {
	if q.warnings && e.Kind == progress.Warning {
		q.line("warning: " + e.Cause())
	}
}

func (q *quiet) line(text string) {
	q.buf.WriteString(text)
	q.buf.WriteByte('\n')
}

func (q *quiet) frame(*progress.State, time.Time, bool) []byte { return drain(&q.buf) }

// drain empties buf. Its result is valid until buf is written to again.
func drain(buf *bytes.Buffer) []byte {
	b := buf.Bytes()
	buf.Reset()
	return b
}
