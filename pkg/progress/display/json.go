package display

import (
	"bytes"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// jsonInterval is the least time between two progress events of the same subject.
const jsonInterval = 100 * time.Millisecond

// jsonLines renders the JSON stream, at most ten progress events of a blob in a
// second.
type jsonLines struct {
	buf  bytes.Buffer
	enc  progress.Encoder
	last map[subject]time.Time // when progress was last written
}

func newJSON(classify func(error) progress.Failure) *jsonLines {
	j := &jsonLines{last: map[subject]time.Time{}}
	j.enc = progress.Encoder{Out: &j.buf, Classify: classify}
	return j
}

func (j *jsonLines) line(text string) { j.enc.Log(text) }

func (j *jsonLines) event(s *progress.State, e progress.Event) {
	if isSuperseded(e) {
		if e.Time.Sub(j.last[subjectOf(e)]) < jsonInterval {
			return
		}
		j.last[subjectOf(e)] = e.Time
	}
	j.enc.Event(s, e)
}

func (j *jsonLines) frame(*progress.State, time.Time, bool) []byte { return drain(&j.buf) }
