// Package timeline draws the picture of a pull: one row per image and per blob,
// with the phases in colours, as SVG or as a page. It folds the same events as
// the displays, live or read from a saved JSON stream, and does no I/O.
//
// Start reading at Timeline, whose lanes are the rows; svg draws the picture from
// the top down, rows the lanes, axis the time.
package timeline

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// Timeline is what happened when in a call: the fold over its events that the
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
	byRef      map[string][]*lane
	touched    map[string][]*lane // since their image failed last, by reference
	flow       flow
	hosts      []*hostShare
	byHost     map[string]*hostShare
	notes      []string          // what concerns no lane
	causes     map[string]string // why images failed, by reference
}

// blobName identifies a blob of one of several images. Without a digest it is the
// image itself.
type blobName struct {
	ref    string
	digest digest.Digest
}

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
			t.touch(t.lane(progress.Event{Ref: ref}))
		}
	case progress.Warning:
		if len(t.notes) < maxNotes {
			t.notes = append(t.notes, e.Cause())
		}
	case progress.Summary:
		t.took = e.Duration
	default:
		if e.Ref != "" {
			t.touch(t.lane(e)).apply(e)
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

// count adds the bytes that have come with e to the flow and to their host.
func (t *Timeline) count(e progress.Event, before int64) {
	b := t.state.Blob(e)
	if b == nil || (e.Kind != progress.FetchProgress && e.Kind != progress.FetchDone) {
		return
	}
	moved := max(b.Fetched-before, 0)
	if l := t.lane(e); b.Kind == progress.Layer || l.last(progress.Fetch) != nil { // others came when the image was resolved
		t.flow.spread(l.noteBytes(e.Time).Sub(t.start), e.Time.Sub(t.start), moved)
	}
	if b.Host == "" || moved == 0 {
		return
	}
	t.share(b.Host).bytes += moved
}

// share is what came from the host, which is added if it is new.
func (t *Timeline) share(host string) *hostShare {
	h := t.byHost[host]
	if h == nil {
		if t.byHost == nil {
			t.byHost = map[string]*hostShare{}
		}
		h = &hostShare{name: host}
		t.byHost[host], t.hosts = h, append(t.hosts, h)
	}
	return h
}

// lane returns the row that e belongs to, and adds it if it is new. The blob is
// looked up each time, because the fold only knows it after its first event.
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
		t.byBlob, t.byRef = map[blobName]*lane{}, map[string][]*lane{}
	}
	t.byBlob[name] = l
	t.lanes, t.byRef[e.Ref] = append(t.lanes, l), append(t.byRef[e.Ref], l)
	return l
}

// fail keeps why the image of e failed, and ends what it was doing since it failed
// before.
func (t *Timeline) fail(e progress.Event) {
	text := e.Cause()
	if t.causes == nil {
		t.causes = map[string]string{}
	}
	t.causes[e.Ref] = text
	named := map[string]bool{}
	for _, name := range digest.DigestRegexp.FindAllString(text, -1) {
		named[name] = true
	}
	for _, l := range t.touched[e.Ref] {
		l.touched = false
		l.stop(e.Time)
		l.failed = l.digest == "" || named[string(l.digest)]
	}
	delete(t.touched, e.Ref)
}

// touch notes that something happened to l.
func (t *Timeline) touch(l *lane) *lane {
	if !l.touched {
		if t.touched == nil {
			t.touched = map[string][]*lane{}
		}
		l.touched = true
		t.touched[l.ref] = append(t.touched[l.ref], l)
	}
	return l
}
