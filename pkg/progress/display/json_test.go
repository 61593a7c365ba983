package display_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// stream returns what a display writes about events.
func stream(t *testing.T, o display.Options, events ...progress.Event) string {
	t.Helper()
	var buf bytes.Buffer
	o.Out = &buf
	d := start(t, o)
	scene.Play(d.Sink(), events...)
	finish(t, d)
	return buf.String()
}

// decoded reads a stream back.
func decoded(t *testing.T, text string) []progress.Event {
	t.Helper()
	var all []progress.Event
	if err := progress.ReadEvents(strings.NewReader(text), func(e progress.Event) { all = append(all, e) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(text, "\n"); got != len(all) {
		t.Errorf("got %d lines, want one for each of %d events", got, len(all))
	}
	return all
}

// The JSON of a display is that of the encoder.
func TestJSONMode(t *testing.T) {
	got := stream(t, display.Options{Mode: display.ModeJSON}, scene.Pull()...)
	if diff := cmp.Diff(scene.Encode(scene.Pull()...), got); diff != "" {
		t.Errorf("got another stream (-want +got):\n%s", diff)
	}
}

// Progress of one blob comes at most ten times a second, however often it is
// reported; other blobs and other events are not held up by it.
func TestJSONPace(t *testing.T) {
	var buf bytes.Buffer
	d := start(t, display.Options{Out: &buf, Mode: display.ModeJSON})
	start := time.Now()
	for i := range 1000 {
		at := start.Add(time.Duration(i) * time.Millisecond)
		for blob := range 2 {
			scene.Play(d.Sink(), scene.Of(scene.Nth(blob), progress.Event{Time: at, Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: int64(i), Total: 1000}})...)
		}
	}
	scene.Play(d.Sink(), scene.Of(scene.Nth(0), progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 1000}})...)
	finish(t, d)
	counts := map[any]int{}
	for _, e := range decoded(t, buf.String()) {
		counts[fmt.Sprint(e.Kind, " ", e.Digest)]++
	}
	for blob := range 2 {
		if got := counts[fmt.Sprint("fetch.progress ", scene.Nth(blob))]; got < 1 || got > 10 {
			t.Errorf("got %d progress events of blob %d in a second, want 1 to 10", got, blob)
		}
	}
	if got := counts[fmt.Sprint("fetch.done ", scene.Nth(0))]; got != 1 {
		t.Errorf("got %d fetch.done events, want 1", got)
	}
}

// Log lines are events, so that every line of the stream can be decoded.
func TestJSONLog(t *testing.T) {
	var buf bytes.Buffer
	d := start(t, display.Options{Out: &buf, Mode: display.ModeJSON})
	fmt.Fprint(d.Writer(), "time=1 level=info\nand \"more\"")
	finish(t, d)
	fmt.Fprintln(d.Writer(), "late")
	var got []string
	for _, e := range decoded(t, buf.String()) {
		got = append(got, fmt.Sprint(e.Kind, ":", e.Message))
	}
	if want := []string{"log:time=1 level=info", `log:and "more"`, "log:late"}; !slices.Equal(got, want) {
		t.Errorf("got lines %q, want %q", got, want)
	}
}
