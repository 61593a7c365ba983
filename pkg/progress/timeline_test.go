package progress_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

func TestMain(m *testing.M) {
	if scene := os.Getenv(sceneVariable); scene != "" {
		os.Exit(playScene(scene))
	}
	flag.Bool("docs", false, "write the pictures of the documentation, see .ci/picture")
	flag.Parse()
	os.Exit(m.Run())
}

const mirror = "mirror.example.com"

// moment is a time of the sample pulls.
func moment(ms int) time.Time {
	return time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

// at gives e a time.
func at(ms int, e progress.Event) progress.Event {
	e.Time = moment(ms)
	return e
}

func phase(p progress.Phase, took time.Duration) progress.Event {
	return progress.Event{Kind: progress.PhaseDone, Phase: p, Duration: took * time.Millisecond, ChainID: chain}
}

// eventful is a pull with everything that a picture shows: a mirror that is
// given up, a layer that is there, waits, a retry, layers that overlap and a
// commit that waits for the one below.
func eventful() []progress.Event {
	events := []progress.Event{
		at(0, progress.Event{Kind: progress.Start, Refs: []string{debian}}),
		at(90, progress.Event{Kind: progress.HostFailed, Ref: debian, Host: mirror, Err: errors.New("<503> & gone")}),
		at(400, progress.Event{Kind: progress.Resolved, Ref: debian, Digest: index, Host: hub,
			MediaType: "application/vnd.oci.image.index.v1+json", Duration: 380 * time.Millisecond}),
		at(500, progress.Event{Kind: progress.PhaseDone, Ref: debian, Phase: progress.Resolve, Duration: 480 * time.Millisecond}),
	}
	for _, e := range planned(4) {
		events = append(events, at(500, e))
	}
	events = append(events, of(nth(0),
		at(510, progress.Event{Kind: progress.Present, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * mb}}))...)
	events = append(events, of(nth(1),
		at(510, phase(progress.Wait, 10)),
		at(700, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * mb}, Host: hub}),
		at(700, progress.Event{Kind: progress.UnpackStart, ChainID: chain}),
		at(1200, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 3 * mb, Total: 10 * mb}, Host: hub}),
		at(1400, progress.Event{Kind: progress.Retry, Host: hub, Attempt: 1, Wait: 250 * time.Millisecond, Reason: "reset", Message: "connection reset by peer"}),
		at(2400, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 8 * mb, Total: 10 * mb}, Host: mirror}),
		at(2600, progress.Event{Kind: progress.FetchDone, Blob: progress.Layer, Bytes: progress.Bytes{Done: 10 * mb, Total: 10 * mb}, Host: mirror, Duration: 2050 * time.Millisecond}),
		at(2700, phase(progress.Wait, 60)),
		at(2700, phase(progress.Inflate, 700)),
		at(2750, phase(progress.Apply, 1500)),
		at(2750, progress.Event{Kind: progress.UnpackDone, ChainID: chain, Bytes: progress.Bytes{Done: 30 * mb, Total: 30 * mb}}),
		at(2990, phase(progress.Commit, 240)))...)
	events = append(events, of(nth(2),
		at(900, phase(progress.Wait, 400)),
		at(1000, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Done: 4 * mb, Total: 10 * mb}, Host: hub}),
		at(1000, progress.Event{Kind: progress.UnpackStart, ChainID: chain}),
		at(1700, progress.Event{Kind: progress.FetchDone, Blob: progress.Layer, Bytes: progress.Bytes{Done: 10 * mb, Total: 10 * mb}, Host: hub, Duration: 800 * time.Millisecond}),
		at(1800, phase(progress.Inflate, 300)),
		at(1800, phase(progress.Apply, 100)),
		at(1800, progress.Event{Kind: progress.UnpackDone, ChainID: chain, Bytes: progress.Bytes{Done: 25 * mb, Total: 25 * mb}}),
		at(3100, phase(progress.Commit, 100)))...)
	events = append(events, of(nth(3),
		at(1750, phase(progress.Wait, 1250)),
		at(1900, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * mb}, Host: hub}),
		at(3200, progress.Event{Kind: progress.FetchDone, Blob: progress.Layer, Bytes: progress.Bytes{Done: 10 * mb, Total: 10 * mb}, Host: hub, Duration: 1400 * time.Millisecond}),
		at(3210, progress.Event{Kind: progress.UnpackStart, ChainID: chain}),
		at(3900, phase(progress.Apply, 690)),
		at(3900, progress.Event{Kind: progress.UnpackDone, ChainID: chain, Bytes: progress.Bytes{Done: 20 * mb, Total: 20 * mb}}),
		at(3950, phase(progress.Commit, 50)))...)
	return events
}

// finished ends eventful with the record of the image.
func finished() []progress.Event {
	return append(eventful(),
		at(3960, progress.Event{Kind: progress.FetchDone, Ref: debian, Digest: nth(8), Blob: progress.Config, Bytes: progress.Bytes{Done: 1800, Total: 1800}, Host: hub, Duration: 4 * time.Millisecond}),
		at(3965, progress.Event{Kind: progress.Present, Ref: debian, Digest: index, Blob: progress.Index, Bytes: progress.Bytes{Total: 8900}}),
		at(3990, progress.Event{Kind: progress.Warning, Message: "the mirror <is> \"slow\""}),
		at(4000, progress.Event{Kind: progress.Registered, Ref: debian, Digest: index, Changed: true, Engine: "client",
			Traffic: progress.Traffic{Fetched: 26 * mb, Reused: 14 * mb}, Duration: 3980 * time.Millisecond}),
		at(4000, progress.Event{Kind: progress.PhaseDone, Ref: debian, Phase: progress.Commit, Duration: 40 * time.Millisecond}),
		at(4002, progress.Event{Kind: progress.Summary, Counts: progress.Counts{Images: 1}, Duration: 4002 * time.Millisecond}),
	)
}

// interrupted ends in the middle of eventful, with a failure of one layer.
func interrupted() []progress.Event {
	events := eventful()
	slices.SortStableFunc(events, func(a, b progress.Event) int { return a.Time.Compare(b.Time) })
	return append(until(2300, events),
		at(2300, progress.Event{Kind: progress.Error, Ref: debian,
			Err: fmt.Errorf("pulling %s: fetching %s: %s: got other bytes: data loss", debian, nth(1), hub)}),
		at(2310, progress.Event{Kind: progress.Summary, Counts: progress.Counts{Images: 1, Failed: 1}, Duration: 2310 * time.Millisecond}),
	)
}

// until cuts events off at a time.
func until(ms int, events []progress.Event) []progress.Event {
	return slices.DeleteFunc(events, func(e progress.Event) bool { return e.Time.After(moment(ms)) })
}

// timeline folds events.
func timeline(events ...progress.Event) *progress.Timeline {
	t := &progress.Timeline{}
	for _, e := range events {
		t.Apply(e)
	}
	return t
}

//go:generate ../../.ci/named TestTimelinePictures -update

func TestTimelinePictures(t *testing.T) {
	for name, got := range map[string][]byte{
		"testdata/finished.svg":    timeline(finished()...).SVG(),
		"testdata/interrupted.svg": timeline(interrupted()...).SVG(),
	} {
		golden.File(t, name, got)
		wellFormed(t, got)
	}
}

// wellFormed parses XML to its end and returns its texts.
func wellFormed(t *testing.T, picture []byte) []string {
	t.Helper()
	var texts []string
	d := xml.NewDecoder(bytes.NewReader(picture))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("parsing the picture: %v\n%s", err, picture)
		}
		switch token := token.(type) {
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				texts = append(texts, text)
			}
		case xml.StartElement:
			if token.Name.Local == "script" || slices.ContainsFunc(token.Attr, func(a xml.Attr) bool {
				return strings.HasPrefix(a.Name.Local, "on") || (a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#"))
			}) {
				t.Errorf("got an element that is not only drawn: %v", token)
			}
		}
	}
}

// What a reader looks for stands in the picture.
func TestTimelineTexts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []progress.Event
		want   []string
	}{
		{"finished", finished(), []string{debian, "new", "2026-01-05 10:00:00 UTC · engine client · " + string(index), "4.0s", "26.0 MB", "6.5 MB/s",
			"14.0 MB", "75.0 MB", "4/4", "1", "present", `warning: the mirror <is> "slow"`, hub + " 19.0 MB",
			mirror + " 7.0 MB", "retry 1 in 250ms: connection reset by peer (" + hub + ")",
			mirror + ": <503> & gone", "3.5 s", "2.0s", "4.9 MB/s"}},
		{"interrupted", interrupted(), []string{"failed", "stopped", "got other bytes: data loss", "2/4"}},
		{"killed", until(1300, interrupted()), []string{"not finished", "fetching", "1/4"}},
		{"hosts", of(nth(1),
			at(1, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 1 * mb}, Host: "a"}),
			at(2, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 3 * mb}, Host: "b"}),
			at(3, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 6 * mb}, Host: "c"})), []string{"hosts: a 1.0 MB, b 2.0 MB, c 3.0 MB"}},
		{"nothing", nil, []string{"no image", "not finished", "0/0"}},
		{"several", []progress.Event{at(0, progress.Event{Kind: progress.Start, Refs: []string{debian, "quay.io/a:v1"}}),
			at(10, progress.Event{Kind: progress.Registered, Ref: debian}), at(20, progress.Event{Kind: progress.Error, Ref: "quay.io/a:v1", Err: errors.New("no route")})},
			[]string{"2 images", "1 of 2 failed", "no route", "quay.io/a:v1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(wellFormed(t, timeline(tt.events...).SVG()), "\n")
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
			saved := slowly(t, progress.Options{Mode: progress.ModeJSON}, events...)
			read := &progress.Timeline{}
			if err := progress.ReadEvents(strings.NewReader(saved), read.Apply); err != nil {
				t.Fatal(err)
			}
			direct := timeline(events...)
			if diff := cmp.Diff(string(direct.SVG()), string(read.SVG())); diff != "" {
				t.Errorf("got another picture (-direct +read):\n%s", diff)
			}
			if diff := cmp.Diff(string(direct.HTML()), string(read.HTML())); diff != "" {
				t.Errorf("got another page (-direct +read):\n%s", diff)
			}
		})
	}
}

// slowly is stream for a display that has seen each event before the next one
// comes, so that none supersedes another.
func slowly(t *testing.T, o progress.Options, events ...progress.Event) string {
	t.Helper()
	var buf bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		o.Out = &buf
		d := display(t, o)
		for _, e := range events {
			d.Sink().Emit(e)
			synctest.Wait()
		}
		finish(t, d)
	})
	return buf.String()
}

func TestReadEvents(t *testing.T) {
	const start = `{"v":1,"time":"2026-01-05T10:00:00.000Z","event":"start","refs":["a"]}` + "\n"
	for _, tt := range []struct {
		name, text string
		events     int
		want       string // of the error
	}{
		{"one", start, 1, ""},
		{"of other programs", "sudo: unable to resolve host\n" + start + "\nhint: none\n", 1, ""},
		{"cut off", start + `{"v":1,"time":"2026-`, 1, ""},
		{"fields and events of later versions", start + `{"v":1,"time":"2026-01-05T10:00:00Z","event":"moon","phaseOfMoon":3}` + "\n", 2, ""},
		{"empty", "", 0, "no events in it"},
		{"text", "hello\n", 0, "no events in it"},
		{"broken", start + "{\n", 1, "line 2: "},
		{"another version", strings.Replace(start, `"v":1`, `"v":2`, 1), 0, "line 1: got version 2, want 1"},
		{"no time", `{"v":1,"event":"start"}` + "\n", 0, "line 1: "},
		{"without an end", strings.Repeat("x", 5<<20), 0, "longer than 4.2 MB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := 0
			err := progress.ReadEvents(strings.NewReader(tt.text), func(progress.Event) { events++ })
			if events != tt.events {
				t.Errorf("got %d events, want %d", events, tt.events)
			}
			if tt.want == "" && err != nil {
				t.Errorf("got error %v, want none", err)
			}
			if tt.want != "" && (!errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want an invalid argument with %q", err, tt.want)
			}
		})
	}
}

// ticksOf returns the labels of the axis of a call that took d.
func ticksOf(t *testing.T, d time.Duration) []string {
	t.Helper()
	picture := timeline(
		at(0, progress.Event{Kind: progress.Start, Refs: []string{debian}}),
		progress.Event{Time: moment(0).Add(d), Kind: progress.Summary},
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
		events := []progress.Event{at(0, progress.Event{Kind: progress.Start, Refs: []string{debian}})}
		for i := range n {
			events = append(events, of(nth(i),
				at(i, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: mb}, Host: hub}),
				at(i+5, progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: mb}}))...)
		}
		picture := timeline(events...).SVG()
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
	events := of(layer, at(0, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: mb}, Host: hub}))
	for i := range 10_000 {
		events = append(events, of(layer, at(i, progress.Event{Kind: progress.Retry, Attempt: 1, Wait: time.Millisecond, Reason: "reset", Host: hub}))...)
	}
	picture := timeline(events...)
	if got := len(picture.SVG()); got > 100_000 {
		t.Errorf("got a picture of %d bytes", got)
	}
	if page := string(picture.HTML()); !strings.Contains(page, ">10000</td>") {
		t.Errorf("got no count of all retries in the table")
	}
}

// Apply is a sink: many goroutines may use it, while others draw.
func TestTimelineManyGoroutines(t *testing.T) {
	tl := &progress.Timeline{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 200 {
				emitAll(tl.Apply, of(nth(i), at(k, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: int64(k), Total: 200}, Host: hub}))...)
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
	var sane bytes.Buffer
	d, err := progress.New(progress.Options{Out: &sane, Mode: progress.ModeJSON})
	if err != nil {
		f.Fatal(err)
	}
	emitAll(d.Sink(), append(finished(), interrupted()...)...)
	d.Close()
	f.Add(sane.String())
	const at = `{"v":1,"time":"2026-01-05T10:00:00Z",`
	f.Add(at + `"event":"fetch.start"}` + "\n" + at + `"event":"fetch.done","ref":"a","digest":"b","durationMs":9223372036854775807,"size":-5}` + "\n")
	f.Add(at + `"event":"error","ref":"</svg><script>\u0000\ud800","message":"]]>\u001b[2J"}` + "\n" + `{"v":1,"time":"0001-01-01T00:00:00Z","event":"retry","ref":"a","waitMs":1}` + "\n")
	f.Add(at + `"event":"unpack.start","ref":"a","digest":"b"}` + "\n" + `{"v":1,"time":"9999-01-01T00:00:00Z","event":"phase","phase":"inflate","durationMs":7,"ref":"a","digest":"b"}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		tl := &progress.Timeline{}
		_ = progress.ReadEvents(strings.NewReader(text), tl.Apply)
		picture := tl.SVG()
		if bytes.Contains(picture, []byte("NaN")) || bytes.Contains(picture, []byte("Inf")) {
			t.Errorf("got a place that is no number:\n%s", picture)
		}
		wellFormed(t, picture)
		tl.HTML()
	})
}
