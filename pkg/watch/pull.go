package watch

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

const (
	// stallAfter is how long nothing may come before that is said. containerd's clients
	// write pieces of half a MiB, so that less than 35 kB/s look the same.
	stallAfter = 15 * time.Second
	// goneAfter is how long a pull may be without an ingest that has not all of its
	// blobs: it waits for a registry, or has failed.
	goneAfter = 15 * time.Second
)

// State is what a pull, or a blob of it, is doing. The values are API.
type State string

const (
	Fetching State = "fetching"
	Stalled  State = "stalled"
	Waiting  State = "waiting"
	// Fetched has all its bytes, of which some are in ingests.
	Fetched State = "fetched"
	// Present is a blob that was there when the pull was first seen.
	Present State = "present"
	// Done has all its blobs in the store. A pull is said to be once.
	Done State = "done"
	// Ended is a pull that lacks blobs and has had no ingest for a while. It is said
	// once.
	Ended State = "ended"
	// Interrupted is what a pull of this program has left whose process has ended.
	Interrupted State = "interrupted"
)

func (s State) isOver() bool { return s == Done || s == Ended }

// Pull is a pull as it stands.
type Pull struct {
	Image
	State State
	// Bytes are those of the blobs that were not there when the pull was first seen.
	// Blobs that have not begun count if Listed.
	Bytes progress.Bytes
	// Listed reports whether the manifest could be read, so that all blobs are known.
	Listed bool
	// Rate is in bytes per second; ETA is 0 while it cannot be told, as for what is not
	// Listed.
	Rate float64
	ETA  time.Duration
	// Silent is how long nothing has come, of a pull that is Stalled.
	Silent             time.Duration
	Layers, LayersDone int
	Blobs              []Blob
}

// Blob is one blob of a Pull.
type Blob struct {
	Digest digest.Digest
	Kind   progress.Blob // empty if it is not known
	State  State
	Bytes  progress.Bytes
	Rate   float64
	// Ingest is the key of its ingest, and Started when that was begun; empty and zero
	// without one.
	Ingest  string
	Started time.Time
	// Silent is how long nothing has come, of a blob that is Stalled.
	Silent time.Duration
}

// pull is what is remembered of one between looks.
type pull struct {
	group
	first  time.Time
	idle   time.Time // since when it has had no ingest, else zero
	tracks map[digest.Digest]*track
	state  progress.State
	sink   progress.Sink
}

// track is what is remembered of a blob.
type track struct {
	blob
	offset int64
	moved  time.Time // when bytes came last
	state  State
}

func newPull(now time.Time, g *group, sink progress.Sink) *pull {
	p := &pull{group: group{Image: g.Image, abandoned: g.abandoned}, first: now, tracks: map[digest.Digest]*track{}}
	if !g.abandoned { // which does not run
		p.sink = sink
	}
	p.emit(now, progress.Event{Kind: progress.Resolved, Digest: cmp.Or(g.Target, g.blobs[0].digest)})
	return p
}

// emit folds an event into the state of the pull and hands it on.
func (p *pull) emit(now time.Time, e progress.Event) {
	e.Time, e.Ref = now, p.label()
	p.state.Apply(e)
	p.sink.Emit(e)
}

// label is what displays show: a title that is short, and the namespace.
func (p *pull) label() string {
	title := p.Title()
	if p.Name == "" && p.Target != "" && len(p.Repositories) > 0 {
		title = p.Repositories[0] + "@" + progress.ShortDigest(p.Target)
	}
	return fmt.Sprintf("%s (%s)", title, p.Namespace)
}

// see compares what a look has shown with what was known. g is nil if the pull has no
// ingest.
func (p *pull) see(now time.Time, g *group, l *look) {
	if g == nil {
		g = &group{}
		p.idle = cmp.Or(p.idle, now)
	} else {
		p.Image, p.manifests, p.idle = g.Image, g.manifests, time.Time{}
	}
	for _, b := range g.blobs {
		p.seeBlob(now, b)
	}
	for dgst, t := range p.tracks {
		if g.has(dgst) {
			continue
		}
		b := t.blob
		b.ingest = nil
		if l != nil {
			_, b.present = l.Blobs[dgst]
		}
		p.seeBlob(now, b)
	}
}

// seeBlob emits what has happened to a blob since the look before.
func (p *pull) seeBlob(now time.Time, b blob) {
	t := p.tracks[b.digest]
	if t == nil {
		t = &track{}
		p.tracks[b.digest] = t
	}
	before := t.state
	t.blob = b
	event := progress.Event{Digest: b.digest, Blob: b.kind, Bytes: progress.Bytes{Total: b.size}}
	switch {
	case b.ingest != nil:
		p.seeIngest(now, t, event)
	case b.present && before == "":
		t.state, event.Kind = Present, progress.Present
	case b.present && (before == Present || before == Done):
	case b.present:
		if before == Waiting { // it came between two looks
			event.Kind = progress.FetchStart
			p.emit(now, event)
		}
		t.state, event.Kind, event.Bytes.Done = Done, progress.FetchDone, b.size
	case before == "":
		t.state, event.Kind = Waiting, progress.Planned
	case before == Fetching || before == Fetched: // the ingest was aborted
		t.state, event.Kind = Stalled, progress.Stalled
		event.Wait = now.Sub(t.moved)
	}
	if event.Kind != "" {
		p.emit(now, event)
	}
}

// seeIngest emits what has happened to the ingest of a blob.
func (p *pull) seeIngest(now time.Time, t *track, event progress.Event) {
	offset := t.ingest.Offset
	event.Bytes = progress.Bytes{Done: offset, Total: max(t.size, offset)}
	began := !slices.Contains([]State{Fetching, Stalled, Fetched}, t.state) || offset < t.offset
	if began {
		event.Kind = progress.FetchStart
		p.emit(now, event)
		t.moved = now
		if updated := t.ingest.UpdatedAt; updated.Before(now) && !updated.IsZero() {
			t.moved = updated
		}
	}
	moved := offset > t.offset && !began
	if moved {
		t.moved = now
	}
	t.offset = offset
	switch {
	case t.size > 0 && offset >= t.size:
		if t.state == Fetched {
			return
		}
		t.state, event.Kind = Fetched, progress.FetchDone
	case now.Sub(t.moved) >= stallAfter:
		if t.state == Stalled {
			return
		}
		t.state, event.Kind, event.Wait = Stalled, progress.Stalled, now.Sub(t.moved)
	default:
		t.state, event.Kind = Fetching, progress.FetchProgress
	}
	p.emit(now, event)
}

// shown is the pull as it stands.
func (p *pull) shown(now time.Time) Pull {
	totals := p.state.Totals()
	s := Pull{
		Image: p.Image, Listed: len(p.manifests) > 0, Rate: p.state.Rate(now),
		Bytes: progress.Bytes{Done: totals.Fetched, Total: totals.Size}, Layers: totals.Layers, LayersDone: totals.LayersDone,
	}
	for _, img := range p.state.Images {
		for _, b := range img.Blobs {
			s.Blobs = append(s.Blobs, p.tracks[b.Digest].shown(now, b))
		}
	}
	s.State, s.Silent = p.judge(now, s.Blobs)
	if s.State == Fetching && s.Listed {
		s.ETA = p.state.ETA(now)
	}
	return s
}

func (t *track) shown(now time.Time, b *progress.BlobState) Blob {
	s := Blob{Digest: t.digest, Kind: t.kind, State: t.state, Bytes: progress.Bytes{Done: b.Fetched, Total: b.Size}}
	if t.ingest != nil {
		s.Ingest, s.Started = t.ingest.Ref, t.ingest.StartedAt
	}
	switch t.state {
	case Fetching:
		_, s.Rate = b.Amount(now)
	case Stalled:
		s.Silent = now.Sub(t.moved)
	}
	return s
}

// judge says what the pull is doing, and for how long nothing has come.
func (p *pull) judge(now time.Time, blobs []Blob) (State, time.Duration) {
	count := map[State]int{}
	var silent time.Duration
	for _, b := range blobs {
		if count[b.State]++; b.State == Stalled && (count[Stalled] == 1 || b.Silent < silent) {
			silent = b.Silent
		}
	}
	missing := len(blobs) - count[Present] - count[Done]
	switch {
	case p.abandoned && p.idle.IsZero():
		return Interrupted, 0
	case !p.idle.IsZero() && missing == 0:
		return Done, 0
	case !p.idle.IsZero() && now.Sub(p.idle) >= goneAfter:
		return Ended, 0
	case count[Fetching] > 0:
		return Fetching, 0
	case count[Stalled] > 0:
		return Stalled, silent
	case count[Fetched] > 0 && missing == count[Fetched]:
		return Fetched, 0
	}
	return Waiting, 0
}

// end tells displays that the pull is over, in words if a layer came.
func (p *pull) end(now time.Time, shown Pull) {
	e := progress.Event{Kind: progress.Ended}
	fetched, took := p.state.Totals().BytesFetched, now.Sub(p.first)
	switch {
	case shown.Layers == 0:
	case shown.State == Done:
		e.Message = fmt.Sprintf("all of it is here, %s fetched in %s", progress.Size(fetched), progress.Duration(took))
	default:
		e.Message = fmt.Sprintf("nothing is fetched any more: %d of %s here, %s fetched in %s",
			shown.LayersDone, progress.Plural(shown.Layers, "layer"), progress.Size(fetched), progress.Duration(took))
	}
	p.emit(now, e)
}
