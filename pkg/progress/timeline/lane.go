package timeline

import (
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// lane is one row of the picture.
type lane struct {
	blobName
	image    *progress.Image
	blob     *progress.BlobState // nil in the lane of an image
	first    time.Time           // of its events; zero if it had none yet
	spans    []span
	phases   map[progress.Phase]counted
	marks    []mark
	dropped  int // marks that were too many to keep
	failed   bool
	ended    time.Time     // by a failure
	bytesAt  time.Time     // when bytes were reported last
	turns    time.Duration // spent within the unpack, waiting for a CPU
	inflated int64
	touched  bool // since the image failed last, if ever
}

// counted is how many spans of a phase a lane has, and where the last of them is.
type counted struct{ spans, last int }

// unpacking is the phase of a span in which a layer is inflated and applied.
const unpacking progress.Phase = "unpack"

// span is a time in which a lane was in one phase.
type span struct {
	phase    progress.Phase
	from, to time.Time // to is zero as long as it goes on
	asked    time.Time // of a fetch: when its first request was made, if known
	cut      bool      // it did not come to its end
	inflate  time.Duration
	apply    time.Duration // of an unpack: how long it was at work
}

// mark is a moment of a lane: a retry, or a host that was given up.
type mark struct {
	at    time.Time
	wait  time.Duration
	label string
	text  string
}

const (
	markRetry = "retry"
	markHost  = "host"
)

// maxMarks bounds the marks of a lane, maxNotes those that belong to none, and
// maxSpans the spans of each phase of a lane: a blob may be retried for as long as
// it gains bytes.
const (
	maxMarks = 100
	maxNotes = 5
	maxSpans = 200
)

// stop cuts what is going on.
func (l *lane) stop(at time.Time) {
	l.ended = at
	for i := range l.spans {
		if s := &l.spans[i]; s.to.IsZero() {
			s.to, s.cut = at, true
		}
	}
}

func (l *lane) apply(e progress.Event) {
	switch e.Kind {
	case progress.FetchStart:
		l.startFetch(e)
	case progress.FetchProgress:
		l.openOrBegin(progress.Fetch, e.Time)
	case progress.FetchDone:
		l.endFetch(e)
	case progress.UnpackStart:
		l.begin(unpacking, e.Time)
	case progress.UnpackProgress:
		l.openOrBegin(unpacking, e.Time)
	case progress.UnpackDone:
		l.openOrBegin(unpacking, e.Time).to = e.Time
		l.inflated = max(l.inflated, e.Bytes.Done)
	case progress.PhaseDone:
		l.phase(e)
	case progress.Retry:
		l.mark(mark{e.Time, e.Wait, markRetry, e.RetryText()})
	case progress.HostFailed:
		l.mark(mark{at: e.Time, label: markHost, text: printable.Line(e.Host) + ": " + e.Cause()})
	}
}

func (l *lane) mark(m mark) {
	if len(l.marks) == maxMarks {
		l.dropped++
		return
	}
	l.marks = append(l.marks, m)
}

// begin opens a span; one of the same phase that is open has been given up.
func (l *lane) begin(p progress.Phase, at time.Time) *span {
	if s := l.open(p); s != nil {
		s.to, s.cut = at, true
	}
	return l.add(span{phase: p, from: at})
}

// add keeps a span. Where there are too many of its phase, the last of them goes on
// to the end of this one.
func (l *lane) add(s span) *span {
	of := l.phases[s.phase]
	if of.spans == maxSpans {
		last := &l.spans[of.last]
		last.to, last.cut = s.to, s.cut
		return last
	}
	if l.phases == nil {
		l.phases = map[progress.Phase]counted{}
	}
	l.phases[s.phase] = counted{of.spans + 1, len(l.spans)}
	l.spans = append(l.spans, s)
	return &l.spans[len(l.spans)-1]
}

// open returns the span of p that goes on, or nil.
func (l *lane) open(p progress.Phase) *span {
	if s := l.last(p); s != nil && s.to.IsZero() {
		return s
	}
	return nil
}

func (l *lane) last(p progress.Phase) *span {
	if of := l.phases[p]; of.spans > 0 {
		return &l.spans[of.last]
	}
	return nil
}

// openOrBegin is open, for phases whose begin was not reported.
func (l *lane) openOrBegin(p progress.Phase, at time.Time) *span {
	if s := l.open(p); s != nil {
		return s
	}
	return l.begin(p, at)
}

// startFetch opens a fetch. An unpack may have been opened before the first
// byte; it has something to do only from then on.
func (l *lane) startFetch(e progress.Event) {
	if s := l.open(unpacking); s != nil && l.blob.Unpacked == 0 {
		s.from = e.Time
	}
	asked := l.first
	if s := l.last(progress.Wait); s != nil {
		asked = s.to
	}
	if s := l.begin(progress.Fetch, e.Time); !asked.After(s.from) {
		s.asked = asked
	}
}

// endFetch closes a fetch. Documents are reported only when they are put into
// the store, which belongs to the commit of their image.
func (l *lane) endFetch(e progress.Event) {
	s := l.open(progress.Fetch)
	if s == nil && l.blob.Kind != progress.Layer {
		l.add(ending(progress.Commit, e))
		return
	}
	if s == nil {
		s = l.begin(progress.Fetch, e.Time.Add(-max(e.Duration, 0)))
	}
	s.to = e.Time
	if asked := e.Time.Add(-e.Duration); e.Duration > 0 && asked.Before(s.from) {
		s.asked = asked
	}
}

// ending is a span that ends with e and lasted for its Duration.
func ending(p progress.Phase, e progress.Event) span {
	return span{phase: p, from: e.Time.Add(-max(e.Duration, 0)), to: e.Time}
}

// isStarved reports whether s is an unpack that saw no byte: it only waited for a
// host.
func (l *lane) isStarved(s span) bool {
	return s.cut && l.blob.Unpacked == 0 && !l.blob.Present && l.last(progress.Fetch) == nil
}

// phase takes how long a phase took. A fetch is known by its own events, and
// inflate and apply share the time of their unpack. So does a wait that is
// reported during the unpack: it is the sum of many short ones.
func (l *lane) phase(e progress.Event) {
	unpack := l.last(unpacking)
	switch {
	case e.Phase == progress.Wait && l.open(unpacking) != nil:
		l.turns += e.Duration
	case e.Phase == progress.Wait && e.Duration == 0:
	case e.Phase == progress.Wait, e.Phase == progress.Commit, e.Phase == progress.Resolve:
		l.add(ending(e.Phase, e))
	case unpack == nil:
	case e.Phase == progress.Inflate:
		unpack.inflate += e.Duration
	case e.Phase == progress.Apply:
		unpack.apply += e.Duration
	}
}

// busy is how long the lane was in a phase. Waits include those within the
// unpack.
func (l *lane) busy(p progress.Phase) (sum time.Duration) {
	if p == progress.Wait {
		sum += l.turns
	}
	for _, s := range l.spans {
		switch {
		case p == progress.Inflate:
			sum += s.inflate
		case p == progress.Apply:
			sum += s.apply
		case s.phase == p:
			sum += max(s.to.Sub(s.from), 0)
		}
	}
	return sum
}

// noteBytes notes that bytes are reported at the time at, and returns when they
// began to come: with the report before, else with the fetch.
func (l *lane) noteBytes(at time.Time) time.Time {
	since := l.bytesAt
	if since.IsZero() {
		since = at
		if s := l.open(progress.Fetch); s != nil {
			since = s.from
		}
	}
	l.bytesAt = at
	return since
}
