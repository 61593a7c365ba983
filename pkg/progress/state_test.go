package progress_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// folded is the state after events.
func folded(events ...progress.Event) *progress.State {
	var s progress.State
	for _, e := range events {
		s.Apply(e)
	}
	return &s
}

func TestBlobStatus(t *testing.T) {
	planned := progress.Event{Kind: progress.Planned, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10}, ChainID: scene.Chain}
	fetchOnly := progress.Event{Kind: progress.Planned, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10}}
	fetch := progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10}}
	moved := progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 4}}
	all := progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 10}}
	retry := progress.Event{Kind: progress.Retry, Attempt: 1}
	fetched := progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 10}}
	unpack := progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain}
	unpacked := progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 30}}
	type events []progress.Event
	for _, tt := range []struct {
		name   string
		events events
		want   progress.Status
	}{
		{"planned", events{planned}, progress.Waiting},
		{"first byte", events{planned, fetch}, progress.Fetching},
		{"without a plan", events{fetch}, progress.Fetching},
		{"dropped", events{planned, fetch, moved, retry}, progress.Retrying},
		{"again", events{planned, fetch, moved, retry, fetch}, progress.Fetching},
		{"again without a start", events{planned, fetch, retry, moved}, progress.Fetching},
		{"fetched, parent missing", events{planned, fetch, fetched}, progress.Queued},
		{"fetched, not yet verified", events{planned, fetch, all}, progress.Queued},
		{"fetched, not to be unpacked, not yet verified", events{fetchOnly, fetch, all}, progress.Fetching},
		{"rest of the unpack, not yet verified", events{planned, fetch, unpack, all}, progress.Unpacking},
		{"fetched, not to be unpacked", events{fetchOnly, fetch, fetched}, progress.Done},
		{"both at once", events{planned, fetch, unpack}, progress.Fetching},
		{"rest of the unpack", events{planned, fetch, unpack, fetched}, progress.Unpacking},
		{"asked for, no byte yet", events{planned, unpack}, progress.Waiting},
		{"fetched before", events{planned, fetched, unpack}, progress.Unpacking},
		{"unpacked", events{planned, fetch, unpack, fetched, unpacked}, progress.Done},
		{"unpacked into a second chain", events{planned, fetch, unpack, fetched, unpacked, unpack}, progress.Unpacking},
		{"blob was there, says so", events{{Kind: progress.Present, Bytes: progress.Bytes{Total: 10}}, unpack}, progress.Unpacking},
		{"read", events{{Kind: progress.VerifyProgress, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10}}}, progress.Verifying},
		{"judged", events{{Kind: progress.VerifyProgress, Bytes: progress.Bytes{Total: 10}}, {Kind: progress.VerifyDone, Bytes: progress.Bytes{Total: 10}}}, progress.Done},
		{"fetched after the judgement", events{{Kind: progress.VerifyDone, Bytes: progress.Bytes{Total: 10}}, fetch}, progress.Fetching},
		{"unpacked after the judgement", events{{Kind: progress.VerifyDone, Bytes: progress.Bytes{Total: 10}}, unpack, unpacked}, progress.Done},
		{"there", events{planned, {Kind: progress.Present, Bytes: progress.Bytes{Total: 10}}}, progress.Held},
	} {
		s := folded(scene.Of(scene.Layer, tt.events...)...)
		if got := s.Images[0].Blobs[0].Status(); got != tt.want {
			t.Errorf("%s: got status %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestTotalsOfACheck counts what is hashed as the work, and nothing as fetched.
func TestTotalsOfACheck(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(s int, e progress.Event) progress.Event {
		e.Time, e.Ref = start.Add(time.Duration(s)*time.Second), scene.Debian
		return e
	}
	s := folded(
		at(0, progress.Event{Kind: progress.Verify, Digest: scene.Index}),
		at(0, progress.Event{Kind: progress.VerifyProgress, Digest: scene.Layer, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}}),
		at(1, progress.Event{Kind: progress.VerifyProgress, Digest: scene.Layer, Blob: progress.Layer, Bytes: progress.Bytes{Done: 4 * scene.MB, Total: 10 * scene.MB}}),
		at(1, progress.Event{Kind: progress.VerifyDone, Digest: scene.Nth(1), Blob: progress.Layer, Bytes: progress.Bytes{Done: 1 * scene.MB, Total: 1 * scene.MB}}),
	)
	want := progress.Totals{Fetched: 5 * scene.MB, Size: 11 * scene.MB, Layers: 2, LayersDone: 1}
	if diff := cmp.Diff(want, s.Totals()); diff != "" {
		t.Errorf("totals differ (-want +got):\n%s", diff)
	}
	if got := s.ETA(start.Add(time.Second)); got < time.Second || got > 2*time.Second {
		t.Errorf("got %s left, want 6 MB at 5 MB/s", got)
	}
	s.Apply(at(2, progress.Event{Kind: progress.Verified, Digest: scene.Index}))
	if got := s.Images[0]; got.Outcome != progress.Checked || got.Digest != scene.Index {
		t.Errorf("got image %+v, want it checked", got)
	}
}

func TestTotals(t *testing.T) {
	events := append(scene.Opening(), scene.Planned(4)...)
	events = append(events, scene.Of(scene.Nth(0), progress.Event{Kind: progress.Present, Bytes: progress.Bytes{Total: 10 * scene.MB}})...)
	events = append(events, scene.Of(scene.Nth(1),
		progress.Event{Kind: progress.FetchStart, Bytes: progress.Bytes{Done: 2 * scene.MB, Total: 10 * scene.MB}},
		progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 5 * scene.MB}},
		progress.Event{Kind: progress.Retry, Attempt: 1},
		progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 4 * scene.MB}}, // a registry without ranges
		progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 10 * scene.MB}},
		progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain},
		progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain})...)
	events = append(events, scene.Of(scene.Nth(7),
		progress.Event{Kind: progress.FetchStart, Blob: progress.Config, Bytes: progress.Bytes{Total: 500}},
		progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 500}})...)
	s := folded(events...)
	want := progress.Totals{
		Fetched: 10*scene.MB + 500, Size: 30*scene.MB + 500,
		Unpacked: 10 * scene.MB, ToUnpack: 30 * scene.MB,
		Layers: 4, LayersDone: 2,
		BytesFetched: 3*scene.MB + 6*scene.MB + 500, BytesReused: 12 * scene.MB,
	}
	if diff := cmp.Diff(want, s.Totals()); diff != "" {
		t.Errorf("got other totals while pulling (-want +got):\n%s", diff)
	}
	if s.Retries != 1 || s.Engine != "client" || s.Images[0].Digest != scene.Index {
		t.Errorf("got %d retries, engine %q, target %q", s.Retries, s.Engine, s.Images[0].Digest)
	}
	s.Apply(progress.Event{Kind: progress.Registered, Ref: scene.Debian, Digest: scene.Index, Traffic: progress.Traffic{Fetched: 123, Reused: 456}})
	s.Apply(progress.Event{Kind: progress.Error, Ref: "quay.io/a:v1", Err: scene.Reset()})
	want.BytesFetched, want.BytesReused, want.Failed = 123, 456, 1
	if diff := cmp.Diff(want, s.Totals()); diff != "" {
		t.Errorf("got other totals at the end (-want +got):\n%s", diff)
	}
}

// TestSharedBlobsCountOnce: of two images with the same layer, one fetched it and
// the other reused it; of two that failed in its middle, each had a part.
func TestSharedBlobsCountOnce(t *testing.T) {
	const second = "quay.io/a:v1"
	blob := func(ref string, events ...progress.Event) (all []progress.Event) {
		for _, e := range events {
			e.Ref, e.Digest, e.Blob = ref, scene.Layer, progress.Layer
			e.Bytes.Total = 10 * scene.MB
			all = append(all, e)
		}
		return all
	}
	part := func(done int64) progress.Bytes { return progress.Bytes{Done: done * scene.MB} }
	whole := []progress.Event{{Kind: progress.FetchStart}, {Kind: progress.FetchDone}}
	there := []progress.Event{{Kind: progress.Present}}
	for _, tt := range []struct {
		name          string
		first, second []progress.Event
		want          progress.Traffic
	}{
		{"fetched, then there", whole, there, progress.Traffic{Fetched: 10 * scene.MB}},
		{"there twice", there, there, progress.Traffic{Reused: 10 * scene.MB}},
		{"begun, then finished",
			[]progress.Event{{Kind: progress.FetchStart}, {Kind: progress.FetchProgress, Bytes: part(4)}},
			[]progress.Event{{Kind: progress.FetchStart, Bytes: part(4)}, {Kind: progress.FetchDone}},
			progress.Traffic{Fetched: 10 * scene.MB}},
		{"held from before, begun, finished",
			[]progress.Event{{Kind: progress.FetchStart, Bytes: part(3)}, {Kind: progress.FetchProgress, Bytes: part(4)}},
			[]progress.Event{{Kind: progress.FetchStart, Bytes: part(4)}, {Kind: progress.FetchDone}},
			progress.Traffic{Fetched: 7 * scene.MB, Reused: 3 * scene.MB}},
		{"wrong bytes, then the right ones, then there",
			[]progress.Event{{Kind: progress.FetchStart}, {Kind: progress.FetchProgress, Bytes: part(4)}, {Kind: progress.FetchStart}, {Kind: progress.FetchDone}},
			there, progress.Traffic{Fetched: 14 * scene.MB}},
	} {
		sum := folded(append(blob(scene.Debian, tt.first...), blob(second, tt.second...)...)...).Totals()
		if got := (progress.Traffic{Fetched: sum.BytesFetched, Reused: sum.BytesReused}); got != tt.want || sum.Layers != 1 {
			t.Errorf("%s: got %+v of %d layers, want %+v of one", tt.name, got, sum.Layers, tt.want)
		}
	}
}

func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		name  string
		event progress.Event
		want  progress.Outcome
	}{
		{"no record before", progress.Event{Kind: progress.Registered, Changed: true}, progress.Created},
		{"another target before", progress.Event{Kind: progress.Registered, Changed: true, Previous: scene.Nth(1)}, progress.Updated},
		{"labels", progress.Event{Kind: progress.Registered, Digest: scene.Index, Changed: true, Previous: scene.Index, NewLabels: []string{"team"}}, progress.Relabelled},
		{"same target", progress.Event{Kind: progress.Registered, Previous: scene.Index}, progress.Unchanged},
		{"failure", progress.Event{Kind: progress.Error, Err: scene.Reset()}, progress.Failed},
		{"nothing yet", progress.Event{Kind: progress.Resolved}, ""},
	} {
		if got := folded(tt.event).Images[0].Outcome; got != tt.want {
			t.Errorf("%s: got outcome %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestEnded: an image that is no longer fetched is forgotten, so that a watch does
// not keep what it has seen.
func TestEnded(t *testing.T) {
	var s progress.State
	for _, ref := range []string{"a", "b"} {
		s.Apply(progress.Event{Kind: progress.FetchStart, Ref: ref, Digest: scene.Nth(1), Bytes: progress.Bytes{Total: 10}})
	}
	s.Apply(progress.Event{Kind: progress.Ended, Ref: "a"})
	if len(s.Images) != 1 || s.Images[0].Ref != "b" || s.Totals().Size != 10 {
		t.Errorf("got %+v", s.Images)
	}
}

// The rate looks back over a few seconds and falls to nothing when nothing
// moves.
func TestRate(t *testing.T) {
	start := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	var s progress.State
	emit := func(events ...progress.Event) {
		for _, e := range scene.Of(scene.Layer, events...) {
			s.Apply(e)
		}
	}
	emit(progress.Event{Time: at(0), Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 100 * scene.MB}})
	if got := s.Rate(at(0.1)); got != 0 {
		t.Errorf("got rate %v after a tenth of a second, want none yet", got)
	}
	for i := 1; i <= 100; i++ { // 1 MB every tenth of a second
		emit(progress.Event{Time: at(float64(i) / 10), Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: int64(i) * scene.MB / 2}})
	}
	for _, tt := range []struct{ at, min, max float64 }{
		{10, 4.9 * scene.MB, 5.2 * scene.MB},
		{12.5, 2.4 * scene.MB, 2.7 * scene.MB},
		{20, 0, 1},
	} {
		if got := s.Rate(at(tt.at)); got < tt.min || got > tt.max {
			t.Errorf("got rate %v at %vs, want %v to %v", got, tt.at, tt.min, tt.max)
		}
	}
	if got := s.ETA(at(10)).Seconds(); got < 9.5 || got > 10.5 {
		t.Errorf("got ETA %vs, want about 10 s", got)
	}
	if got := s.ETA(at(20)); got != 0 {
		t.Errorf("got ETA %v while nothing moves, want none", got)
	}
	emit(progress.Event{Time: at(20.5), Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 100 * scene.MB}})
	if got := s.ETA(at(21)); got != 0 {
		t.Errorf("got ETA %v after the last byte, want none", got)
	}
}

// TestN11PartAndETA follows layers through both halves of their work: neither what is
// done nor what is left ever jumps.
func TestN11PartAndETA(t *testing.T) {
	start := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	var s progress.State
	emit := func(seconds int, of int, e progress.Event) {
		e.Time = start.Add(time.Duration(seconds) * time.Second)
		s.Apply(scene.Of(scene.Nth(of), e)[0])
	}
	for i := range 2 {
		emit(0, i, progress.Event{Kind: progress.Planned, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, ChainID: scene.Chain})
	}
	emit(0, 0, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}})
	emit(0, 0, progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain})
	expect := func(seconds int, part float64, eta time.Duration) {
		t.Helper()
		now := start.Add(time.Duration(seconds) * time.Second)
		if got := s.Totals().Part(); got != part {
			t.Errorf("after %d s: got %v done, want %v", seconds, got, part)
		}
		if got := s.ETA(now).Round(time.Second); got != eta {
			t.Errorf("after %d s: got %s left, want %s", seconds, got, eta)
		}
	}
	emit(1, 0, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 10 * scene.MB}})
	emit(1, 0, progress.Event{Kind: progress.UnpackProgress, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 7 * scene.MB}, Consumed: 2 * scene.MB})
	expect(1, 0.3, 9*time.Second) // 18 MB to unpack, at 2 MB/s
	emit(2, 0, progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 10 * scene.MB}})
	emit(2, 1, progress.Event{Kind: progress.Present, Bytes: progress.Bytes{Total: 10 * scene.MB}}) // and its snapshot
	emit(2, 0, progress.Event{Kind: progress.UnpackProgress, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 14 * scene.MB}, Consumed: 4 * scene.MB})
	expect(2, 0.7, 3*time.Second)
	if b := s.Images[0].Blobs[0]; b.Part() != 0.7 || b.Status() != progress.Unpacking {
		t.Errorf("got %v of the layer, %s", b.Part(), b.Status())
	}
	emit(5, 0, progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 30 * scene.MB}})
	expect(5, 1, 0)
}
