package progress_test

import (
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// What does not come right now, and until when.
func TestN5Trouble(t *testing.T) {
	const ref, layer = "r.example.com/app:1", "sha256:1"
	at := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	planned := progress.Event{Kind: progress.Planned, Ref: ref, Digest: layer, Blob: progress.Layer, Time: at, Bytes: progress.Bytes{Total: 10}}
	started := progress.Event{Kind: progress.FetchStart, Ref: ref, Digest: layer, Time: at, Bytes: progress.Bytes{Total: 10}}
	stall := progress.Event{Kind: progress.Stalled, Ref: ref, Digest: layer, Time: at, Wait: 3 * time.Second}
	retry := progress.Event{Kind: progress.Retry, Ref: ref, Digest: layer, Time: at, Wait: 5 * time.Second, Attempt: 2, Reason: "reset"}
	for _, tc := range []struct {
		name   string
		events []progress.Event
		text   string
		left   time.Duration
		status progress.Status
	}{
		{"none", []progress.Event{planned, started}, "", 0, progress.Fetching},
		{"silent", []progress.Event{planned, started, stall}, "stalled 5 s", 0, progress.Silent},
		{"silent before the fetch", []progress.Event{planned, stall}, "stalled 5 s", 0, progress.Waiting},
		{"retry", []progress.Event{planned, started, stall, retry}, "retrying (reset)", 3 * time.Second, progress.Retrying},
		{"over", []progress.Event{planned, retry, started}, "", 0, progress.Fetching},
	} {
		var s progress.State
		s.Apply(progress.Event{Kind: progress.Start, Refs: []string{ref}, Time: at})
		for _, e := range tc.events {
			s.Apply(e)
		}
		now, b := at.Add(2*time.Second), s.Blob(planned)
		if b.Trouble.Text(now) != tc.text || b.Trouble.Left(now) != tc.left || b.Status() != tc.status {
			t.Errorf("%s: got %q, %s, %s, want %q, %s, %s", tc.name, b.Trouble.Text(now), b.Trouble.Left(now), b.Status(), tc.text, tc.left, tc.status)
		}
	}
	var s progress.State
	s.Apply(progress.Event{Kind: progress.Start, Refs: []string{ref}, Time: at})
	s.Apply(progress.Event{Kind: progress.Retry, Ref: ref, Time: at, Wait: time.Second, Reason: "refused"})
	s.Apply(progress.Event{Kind: progress.Stalled, Ref: "another", Time: at})
	if got := s.Images[0].Trouble.Text(at); got != "retrying (refused)" || len(s.Images) != 1 {
		t.Errorf("got %q and %d images, want the reason at the one image", got, len(s.Images))
	}
}
