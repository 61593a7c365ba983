package timeline

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// Timeline is when what happened in a call: the fold over its events that its
// picture is drawn from. The zero value is that of no events. Like State it
// reads no clock; unlike State it may be used by many goroutines at once, so
// that Apply is a Sink.
type Timeline struct {
	mu         sync.Mutex
	state      progress.State
	start, end time.Time     // of the first and the last event
	took       time.Duration // by the call's own count, once it is over
	lanes      []*lane
	byBlob     map[blobName]*lane
	flow       flow
	hosts      []*hostShare
	notes      []string          // what concerns no lane
	causes     map[string]string // why images failed, by reference
}

// blobName tells the blobs of several images apart. A lane without a digest is
// that of the image itself.
type blobName struct {
	ref    string
	digest digest.Digest
}

// lane is one row of the picture.
type lane struct {
	blobName
	image    *progress.Image
	blob     *progress.BlobState // nil in the lane of an image
	first    time.Time           // of its events; zero if it had none yet
	spans    []span
	marks    []mark
	dropped  int // marks that were too many to keep
	failed   bool
	ended    time.Time     // by a failure
	bytesAt  time.Time     // when bytes were reported last
	turns    time.Duration // spent waiting within the unpack, for a CPU
	inflated int64
}

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

// maxMarks bounds the marks of a lane, maxNotes those that belong to none: a
// blob may be retried for as long as it gains bytes.
const (
	maxMarks = 100
	maxNotes = 5
)

// hostShare is what came from one host.
type hostShare struct {
	name  string
	bytes int64
}

// Apply folds one more event into the timeline.
func (t *Timeline) Apply(e progress.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Time.IsZero() || (isAboutBlob(e) && e.Digest == "") {
		return
	}
	if t.start.IsZero() || e.Time.Before(t.start) {
		t.start = e.Time
	}
	if e.Time.After(t.end) {
		t.end = e.Time
	}
	var before int64
	if b := t.state.Blob(e); b != nil {
		before = b.Fetched
	}
	t.state.Apply(e)
	t.count(e, before)
	switch e.Kind {
	case progress.Start:
		for _, ref := range e.Refs {
			t.lane(progress.Event{Ref: ref})
		}
	case progress.Warning:
		if len(t.notes) < maxNotes {
			t.notes = append(t.notes, e.Cause())
		}
	case progress.Summary:
		t.took = e.Duration
	default:
		if e.Ref != "" {
			t.lane(e).apply(e)
		}
	}
	if e.Kind == progress.Error {
		t.fail(e)
	}
}

// isAboutBlob reports whether e is of a kind that makes a blob known.
func isAboutBlob(e progress.Event) bool {
	switch e.Kind {
	case progress.Planned, progress.FetchStart, progress.FetchProgress, progress.FetchDone, progress.Present, progress.UnpackStart, progress.UnpackProgress, progress.UnpackDone:
		return true
	}
	return false
}

// count files the bytes that e says have come.
func (t *Timeline) count(e progress.Event, before int64) {
	b := t.state.Blob(e)
	if b == nil || (e.Kind != progress.FetchProgress && e.Kind != progress.FetchDone) {
		return
	}
	moved := max(b.Fetched-before, 0)
	if l := t.lane(e); b.Kind == progress.Layer || l.last(progress.Fetch) != nil { // others came when the image was resolved
		t.flow.spread(l.heard(e.Time).Sub(t.start), e.Time.Sub(t.start), moved)
	}
	if b.Host == "" || moved == 0 {
		return
	}
	for _, h := range t.hosts {
		if h.name == b.Host {
			h.bytes += moved
			return
		}
	}
	t.hosts = append(t.hosts, &hostShare{b.Host, moved})
}

// heard returns when bytes of the blob were reported last, which is when those
// that are reported at the time at began to come.
func (l *lane) heard(at time.Time) time.Time {
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

// lane returns the row that e belongs to. What is known of a blob is looked up
// each time, as the fold only learns of it with its own events.
func (t *Timeline) lane(e progress.Event) *lane {
	name := blobName{e.Ref, e.Digest}
	b := t.state.Blob(e)
	if b == nil {
		name.digest = ""
	}
	if l := t.byBlob[name]; l != nil {
		if l.first.IsZero() {
			l.first = e.Time
		}
		return l
	}
	l := &lane{blobName: name, image: t.state.Image(e.Ref), blob: b, first: e.Time}
	if t.byBlob == nil {
		t.byBlob = map[blobName]*lane{}
	}
	t.byBlob[name] = l
	t.lanes = append(t.lanes, l)
	return l
}

// fail ends what the image of e was doing.
func (t *Timeline) fail(e progress.Event) {
	text := e.Cause()
	if t.causes == nil {
		t.causes = map[string]string{}
	}
	t.causes[e.Ref] = text
	for _, l := range t.lanes {
		if l.ref != e.Ref {
			continue
		}
		l.stop(e.Time)
		l.failed = l.digest == "" || strings.Contains(text, string(l.digest))
	}
}

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
		l.running(progress.Fetch, e.Time)
	case progress.FetchDone:
		l.endFetch(e)
	case progress.UnpackStart:
		l.begin(unpacking, e.Time)
	case progress.UnpackProgress:
		l.running(unpacking, e.Time)
	case progress.UnpackDone:
		l.running(unpacking, e.Time).to = e.Time
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
	l.spans = append(l.spans, span{phase: p, from: at})
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
	for i := range slices.Backward(l.spans) {
		if l.spans[i].phase == p {
			return &l.spans[i]
		}
	}
	return nil
}

// running is open, for phases whose beginning nobody told of.
func (l *lane) running(p progress.Phase, at time.Time) *span {
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
	l.begin(progress.Fetch, e.Time).asked = asked
}

// endFetch closes a fetch. Documents are reported only when they are put into
// the store, which belongs to the commit of their image.
func (l *lane) endFetch(e progress.Event) {
	s := l.open(progress.Fetch)
	if s == nil && l.blob.Kind != progress.Layer {
		l.spans = append(l.spans, ending(progress.Commit, e))
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

// ending is a span that ends with e and lasted as long as that says.
func ending(p progress.Phase, e progress.Event) span {
	return span{phase: p, from: e.Time.Add(-max(e.Duration, 0)), to: e.Time}
}

// starved tells whether s is an unpack that saw no byte: what it did was to wait
// for a host.
func (l *lane) starved(s span) bool {
	return s.cut && l.blob.Unpacked == 0 && !l.blob.Present && l.last(progress.Fetch) == nil
}

// phase files how long a phase took. A fetch is known by its own events, and
// inflate and apply share the time of their unpack. So does a wait that is
// reported during it: it is a sum over many.
func (l *lane) phase(e progress.Event) {
	unpack := l.last(unpacking)
	switch {
	case e.Phase == progress.Wait && l.open(unpacking) != nil:
		l.turns += e.Duration
	case e.Phase == progress.Wait && e.Duration == 0:
	case e.Phase == progress.Wait, e.Phase == progress.Commit, e.Phase == progress.Resolve:
		l.spans = append(l.spans, ending(e.Phase, e))
	case unpack == nil:
	case e.Phase == progress.Inflate:
		unpack.inflate += e.Duration
	case e.Phase == progress.Apply:
		unpack.apply += e.Duration
	}
}

// busy is how long the lane was in a phase. Waits include those for the layers
// below, which nobody reports.
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

// A flow has at most maxSteps steps, none of them shorter than leastStep.
const (
	maxSteps  = 100
	leastStep = 20 * time.Millisecond
)

// flow is how many bytes came when. Its steps become longer with the call.
type flow struct {
	step  time.Duration
	bytes []int64
}

// spread files n bytes that came between two times after the start, evenly:
// nobody knows better.
func (f *flow) spread(from, to time.Duration, n int64) {
	if f.step == 0 {
		f.step = leastStep
	}
	for to/f.step >= maxSteps {
		f.widen()
	}
	from, to = max(min(from, to), 0), max(to, 0)
	first, last := int(from/f.step), int(to/f.step)
	for len(f.bytes) <= last {
		f.bytes = append(f.bytes, 0)
	}
	left := n
	for i := first; i < last; i++ {
		begin, end := max(from, time.Duration(i)*f.step), time.Duration(i+1)*f.step
		part := int64(float64(n) * float64(end-begin) / float64(to-from))
		f.bytes[i] += part
		left -= part
	}
	f.bytes[last] += left
}

// widen makes the steps twice as long.
func (f *flow) widen() {
	f.step *= 2
	for i, n := range f.bytes {
		if i%2 == 0 {
			f.bytes[i/2] = n
		} else {
			f.bytes[i/2] += n
		}
	}
	f.bytes = f.bytes[:(len(f.bytes)+1)/2]
}
