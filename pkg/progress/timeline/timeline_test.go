package timeline_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
	"github.com/containerd-pull/containerd-pull/pkg/progress/timeline"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

func phase(p progress.Phase, took time.Duration) progress.Event {
	return progress.Event{Kind: progress.PhaseDone, Phase: p, Duration: took * time.Millisecond, ChainID: scene.Chain}
}

// eventful is a pull with everything that a picture shows: a mirror that is
// given up, a layer that is there, waits, a retry, layers that overlap and a
// commit that waits for the one below.
func eventful() []progress.Event {
	events := []progress.Event{
		scene.At(0, progress.Event{Kind: progress.Start, Refs: []string{scene.Debian}}),
		scene.At(90, progress.Event{Kind: progress.HostFailed, Ref: scene.Debian, Host: scene.Mirror, Err: errors.New("<503> & gone")}),
		scene.At(400, progress.Event{Kind: progress.Resolved, Ref: scene.Debian, Digest: scene.Index, Host: scene.Hub,
			MediaType: "application/vnd.oci.image.index.v1+json", Duration: 380 * time.Millisecond}),
		scene.At(500, progress.Event{Kind: progress.PhaseDone, Ref: scene.Debian, Phase: progress.Resolve, Duration: 480 * time.Millisecond}),
	}
	for _, e := range scene.Planned(4) {
		events = append(events, scene.At(500, e))
	}
	events = append(events, scene.Of(scene.Nth(0),
		scene.At(510, progress.Event{Kind: progress.Present, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}}))...)
	events = append(events, scene.Of(scene.Nth(1),
		scene.At(510, phase(progress.Wait, 10)),
		scene.At(700, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub}),
		scene.At(700, progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain}),
		scene.At(1200, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 3 * scene.MB, Total: 10 * scene.MB}, Host: scene.Hub}),
		scene.At(1400, progress.Event{Kind: progress.Retry, Host: scene.Hub, Attempt: 1, Wait: 250 * time.Millisecond, Reason: "reset", Message: "connection reset by peer"}),
		scene.At(2400, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 8 * scene.MB, Total: 10 * scene.MB}, Host: scene.Mirror}),
		scene.At(2600, progress.Event{Kind: progress.FetchDone, Blob: progress.Layer, Bytes: progress.Bytes{Done: 10 * scene.MB, Total: 10 * scene.MB}, Host: scene.Mirror, Duration: 2050 * time.Millisecond}),
		scene.At(2700, phase(progress.Wait, 60)),
		scene.At(2700, phase(progress.Inflate, 700)),
		scene.At(2750, phase(progress.Apply, 1500)),
		scene.At(2750, progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 30 * scene.MB, Total: 30 * scene.MB}}),
		scene.At(2990, phase(progress.Commit, 240)))...)
	events = append(events, scene.Of(scene.Nth(2),
		scene.At(900, phase(progress.Wait, 400)),
		scene.At(1000, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Done: 4 * scene.MB, Total: 10 * scene.MB}, Host: scene.Hub}),
		scene.At(1000, progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain}),
		scene.At(1700, progress.Event{Kind: progress.FetchDone, Blob: progress.Layer, Bytes: progress.Bytes{Done: 10 * scene.MB, Total: 10 * scene.MB}, Host: scene.Hub, Duration: 800 * time.Millisecond}),
		scene.At(1800, phase(progress.Inflate, 300)),
		scene.At(1800, phase(progress.Apply, 100)),
		scene.At(1800, progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 25 * scene.MB, Total: 25 * scene.MB}}),
		scene.At(3100, phase(progress.Commit, 100)))...)
	events = append(events, scene.Of(scene.Nth(3),
		scene.At(1750, phase(progress.Wait, 1250)),
		scene.At(1900, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub}),
		scene.At(3200, progress.Event{Kind: progress.FetchDone, Blob: progress.Layer, Bytes: progress.Bytes{Done: 10 * scene.MB, Total: 10 * scene.MB}, Host: scene.Hub, Duration: 1400 * time.Millisecond}),
		scene.At(3210, progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain}),
		scene.At(3900, phase(progress.Apply, 690)),
		scene.At(3900, progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 20 * scene.MB, Total: 20 * scene.MB}}),
		scene.At(3950, phase(progress.Commit, 50)))...)
	return events
}

// finished ends eventful with the record of the image.
func finished() []progress.Event {
	return append(eventful(),
		scene.At(3960, progress.Event{Kind: progress.FetchDone, Ref: scene.Debian, Digest: scene.Nth(8), Blob: progress.Config, Bytes: progress.Bytes{Done: 1800, Total: 1800}, Host: scene.Hub, Duration: 4 * time.Millisecond}),
		scene.At(3965, progress.Event{Kind: progress.Present, Ref: scene.Debian, Digest: scene.Index, Blob: progress.Index, Bytes: progress.Bytes{Total: 8900}}),
		scene.At(3990, progress.Event{Kind: progress.Warning, Message: "the mirror <is> \"slow\""}),
		scene.At(4000, progress.Event{Kind: progress.Registered, Ref: scene.Debian, Digest: scene.Index, Changed: true, Engine: "client",
			Traffic: progress.Traffic{Fetched: 26 * scene.MB, Reused: 14 * scene.MB}, Duration: 3980 * time.Millisecond}),
		scene.At(4000, progress.Event{Kind: progress.PhaseDone, Ref: scene.Debian, Phase: progress.Commit, Duration: 40 * time.Millisecond}),
		scene.At(4002, progress.Event{Kind: progress.Summary, Counts: progress.Counts{Images: 1}, Duration: 4002 * time.Millisecond}),
	)
}

// interrupted ends in the middle of eventful, with a failure of one layer.
func interrupted() []progress.Event {
	events := eventful()
	slices.SortStableFunc(events, func(a, b progress.Event) int { return a.Time.Compare(b.Time) })
	return append(until(2300, events),
		scene.At(2300, progress.Event{Kind: progress.Error, Ref: scene.Debian,
			Err: fmt.Errorf("pulling %s: fetching %s: %s: got other bytes: data loss", scene.Debian, scene.Nth(1), scene.Hub)}),
		scene.At(2310, progress.Event{Kind: progress.Summary, Counts: progress.Counts{Images: 1, Failed: 1}, Duration: 2310 * time.Millisecond}),
	)
}

// until cuts events off at a time.
func until(ms int, events []progress.Event) []progress.Event {
	return slices.DeleteFunc(events, func(e progress.Event) bool { return e.Time.After(scene.Moment(ms)) })
}

// timeline folds events.
func drawn(events ...progress.Event) *timeline.Timeline {
	t := &timeline.Timeline{}
	for _, e := range events {
		t.Apply(e)
	}
	return t
}

//go:generate ../../../.ci/named TestTimelinePictures -update

func TestTimelinePictures(t *testing.T) {
	for name, got := range map[string][]byte{
		"testdata/finished.svg":    drawn(finished()...).SVG(),
		"testdata/interrupted.svg": drawn(interrupted()...).SVG(),
	} {
		golden.File(t, name, got)
		wellFormed(t, got)
	}
}

// wellFormed returns the texts of a picture, which must be one.
func wellFormed(t *testing.T, picture []byte) []string {
	t.Helper()
	texts, err := scene.Texts(picture)
	if err != nil {
		t.Fatalf("%v\n%s", err, picture)
	}
	return texts
}

// What a reader looks for stands in the picture.
func TestTimelineTexts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []progress.Event
		want   []string
	}{
		{"finished", finished(), []string{scene.Debian, "new", "2026-01-05 10:00:00 UTC · engine client · " + string(scene.Index), "4.0s", "26.0 MB", "6.5 MB/s",
			"14.0 MB", "75.0 MB", "4/4", "1", "present", `warning: the mirror <is> "slow"`, scene.Hub + " 19.0 MB",
			scene.Mirror + " 7.0 MB", "retry 1 in 250ms: connection reset by peer (" + scene.Hub + ")",
			scene.Mirror + ": <503> & gone", "3.5 s", "2.0s", "4.9 MB/s"}},
		{"interrupted", interrupted(), []string{"failed", "stopped", "got other bytes: data loss", "2/4"}},
		{"killed", until(1300, interrupted()), []string{"not finished", "fetching", "1/4"}},
		{"hosts", scene.Of(scene.Nth(1),
			scene.At(1, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 1 * scene.MB}, Host: "a"}),
			scene.At(2, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 3 * scene.MB}, Host: "b"}),
			scene.At(3, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 6 * scene.MB}, Host: "c"})), []string{"hosts: a 1.0 MB, b 2.0 MB, c 3.0 MB"}},
		{"nothing", nil, []string{"no image", "not finished", "0/0"}},
		{"several", []progress.Event{scene.At(0, progress.Event{Kind: progress.Start, Refs: []string{scene.Debian, "quay.io/a:v1"}}),
			scene.At(10, progress.Event{Kind: progress.Registered, Ref: scene.Debian}), scene.At(20, progress.Event{Kind: progress.Error, Ref: "quay.io/a:v1", Err: errors.New("no route")})},
			[]string{"2 images", "1 of 2 failed", "no route", "quay.io/a:v1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(wellFormed(t, drawn(tt.events...).SVG()), "\n")
			got = regexp.MustCompile(` +`).ReplaceAllString(got, " ")
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("got no %q in the picture:\n%s", want, got)
				}
			}
		})
	}
}

// A picture of a saved stream is that of the pull itself.
func TestTimelineOfStream(t *testing.T) {
	for name, events := range map[string][]progress.Event{"finished": finished(), "interrupted": interrupted()} {
		t.Run(name, func(t *testing.T) {
			saved := scene.Encode(events...)
			read := &timeline.Timeline{}
			if err := progress.ReadEvents(strings.NewReader(saved), read.Apply); err != nil {
				t.Fatal(err)
			}
			direct := drawn(events...)
			if diff := cmp.Diff(string(direct.SVG()), string(read.SVG())); diff != "" {
				t.Errorf("got another picture (-direct +read):\n%s", diff)
			}
			if diff := cmp.Diff(string(direct.HTML()), string(read.HTML())); diff != "" {
				t.Errorf("got another page (-direct +read):\n%s", diff)
			}
		})
	}
}

// ticksOf returns the labels of the axis of a call that took d.
func ticksOf(t *testing.T, d time.Duration) []string {
	t.Helper()
	picture := drawn(
		scene.At(0, progress.Event{Kind: progress.Start, Refs: []string{scene.Debian}}),
		progress.Event{Time: scene.Moment(0).Add(d), Kind: progress.Summary},
	).SVG()
	var labels []string
	for _, m := range regexp.MustCompile(`class="tick">([^<]*)<`).FindAllSubmatch(picture, -1) {
		if label := string(m[1]); !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	return labels
}

func TestTimelineTicks(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "0 1 ms",
		7 * time.Millisecond:    "0 1 ms 2 ms 3 ms 4 ms 5 ms 6 ms 7 ms",
		256 * time.Millisecond:  "0 50 ms 100 ms 150 ms 200 ms 250 ms",
		4350 * time.Millisecond: "0 0.5 s 1.0 s 1.5 s 2.0 s 2.5 s 3.0 s 3.5 s 4.0 s",
		61 * time.Second:        "0 10 s 20 s 30 s 40 s 50 s 60 s",
		5 * time.Minute:         "0 1:00 2:00 3:00 4:00 5:00",
		100 * time.Minute:       "0 15:00 30:00 45:00 1:00:00 1:15:00 1:30:00",
		30 * time.Hour:          "0 6:00:00 12:00:00 18:00:00 24:00:00 30:00:00",
	} {
		if got := strings.Join(ticksOf(t, d), " "); got != want {
			t.Errorf("%s: got ticks %q, want %q", d, got, want)
		}
	}
	for d := time.Millisecond; d < 10000*time.Hour; d = d*3/2 + 7 {
		if n := len(ticksOf(t, d)); n < 2 || n > 10 {
			t.Errorf("%s: got %d ticks, want 2 to 10", d, n)
		}
	}
}

// Hundreds of layers have a row each; what is beyond thousands is counted.
func TestTimelineManyLayers(t *testing.T) {
	for _, n := range []int{300, 2500} {
		if n > 1000 && testing.Short() { // takes more than half a second
			continue
		}
		events := []progress.Event{scene.At(0, progress.Event{Kind: progress.Start, Refs: []string{scene.Debian}})}
		for i := range n {
			events = append(events, scene.Of(scene.Nth(i),
				scene.At(i, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: scene.MB}, Host: scene.Hub}),
				scene.At(i+5, progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: scene.MB}}))...)
		}
		picture := drawn(events...).SVG()
		texts := wellFormed(t, picture)
		if got, want := strings.Count(string(picture), `<g class="row">`), min(n, 2000)+1; got != want {
			t.Errorf("%d layers: got %d rows, want %d", n, got, want)
		}
		if more := slices.Contains(texts, fmt.Sprintf("and %d blobs more", n-2000)); more != (n > 2000) {
			t.Errorf("%d layers: got the rest counted: %v", n, more)
		}
	}
}

// A retry for each of thousands of dropped connections does not make the
// picture grow without bound.
func TestTimelineManyRetries(t *testing.T) {
	events := scene.Of(scene.Layer, scene.At(0, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: scene.MB}, Host: scene.Hub}))
	for i := range 10_000 {
		events = append(events, scene.Of(scene.Layer, scene.At(i, progress.Event{Kind: progress.Retry, Attempt: 1, Wait: time.Millisecond, Reason: "reset", Host: scene.Hub}))...)
	}
	picture := drawn(events...)
	if got := len(picture.SVG()); got > 100_000 {
		t.Errorf("got a picture of %d bytes", got)
	}
	if page := string(picture.HTML()); !strings.Contains(page, ">10000</td>") {
		t.Errorf("got no count of all retries in the table")
	}
}

// Apply is a sink: many goroutines may use it, while others draw.
func TestTimelineManyGoroutines(t *testing.T) {
	tl := &timeline.Timeline{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 200 {
				scene.Play(tl.Apply, scene.Of(scene.Nth(i), scene.At(k, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: int64(k), Total: 200}, Host: scene.Hub}))...)
			}
		})
		wg.Go(func() { tl.SVG() })
	}
	wg.Wait()
	if texts := strings.Join(wellFormed(t, tl.SVG()), "\n"); !strings.Contains(texts, "1.6 kB") {
		t.Errorf("got other sums than 8 times 199 bytes:\n%s", texts)
	}
}

// FuzzTimeline: whatever a file of events holds, a picture of it is well-formed.
func FuzzTimeline(f *testing.F) {
	f.Add(scene.Encode(append(finished(), interrupted()...)...))
	const at = `{"v":1,"time":"2026-01-05T10:00:00Z",`
	f.Add(at + `"event":"fetch.start"}` + "\n" + at + `"event":"fetch.done","ref":"a","digest":"b","durationMs":9223372036854775807,"size":-5}` + "\n")
	f.Add(at + `"event":"error","ref":"</svg><script>\u0000\ud800","message":"]]>\u001b[2J"}` + "\n" + `{"v":1,"time":"0001-01-01T00:00:00Z","event":"retry","ref":"a","waitMs":1}` + "\n")
	f.Add(at + `"event":"unpack.start","ref":"a","digest":"b"}` + "\n" + `{"v":1,"time":"9999-01-01T00:00:00Z","event":"phase","phase":"inflate","durationMs":7,"ref":"a","digest":"b"}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		tl := &timeline.Timeline{}
		_ = progress.ReadEvents(strings.NewReader(text), tl.Apply)
		picture := tl.SVG()
		if bytes.Contains(picture, []byte("NaN")) || bytes.Contains(picture, []byte("Inf")) {
			t.Errorf("got a place that is no number:\n%s", picture)
		}
		wellFormed(t, picture)
		tl.HTML()
	})
}
