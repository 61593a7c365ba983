package timeline

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// TestRule7SpansAreBounded has a blob fetched over and over, as far as a stream of
// events may go, and wants its lane to stay small and to end when the blob did.
func TestRule7SpansAreBounded(t *testing.T) {
	var tl Timeline
	at, blob := time.Unix(1_700_000_000, 0), digest.FromString("blob")
	add := func(e progress.Event) {
		at = at.Add(time.Second)
		e.Time, e.Ref, e.Digest, e.Blob = at, "app", blob, progress.Layer
		tl.Apply(e)
	}
	for range 10 * maxSpans {
		add(progress.Event{Kind: progress.FetchStart, Bytes: progress.Bytes{Total: 10}})
		add(progress.Event{Kind: progress.PhaseDone, Phase: progress.Wait, Duration: time.Millisecond})
	}
	add(progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Done: 10, Total: 10}})
	add(progress.Event{Kind: progress.PhaseDone, Phase: progress.Commit, Duration: time.Millisecond})
	l := tl.byBlob[blobName{"app", blob}]
	if got, want := len(l.spans), 2*maxSpans+1; got != want {
		t.Errorf("got %d spans, want %d", got, want)
	}
	if s := l.last(progress.Fetch); s == nil || s.cut || s.to != at.Add(-time.Second) {
		t.Errorf("got %+v as the last fetch, want it to end with the blob", s)
	}
	if s := l.last(progress.Commit); s == nil || s.to != at {
		t.Errorf("got %+v as the last commit, want that of the blob", s)
	}
}

// TestFailureIsOfTheLanesThatItNames has an image fail again and again: only what went
// on since may have failed anew.
func TestFailureIsOfTheLanesThatItNames(t *testing.T) {
	var tl Timeline
	at := time.Unix(1_700_000_000, 0)
	failedAt := map[digest.Digest]time.Time{}
	for i := range 3 {
		blob := digest.FromString(fmt.Sprint(i))
		for _, e := range []progress.Event{
			{Kind: progress.FetchStart, Digest: blob, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10}},
			{Kind: progress.Error, Err: errors.New("fetching layer " + blob.String() + ": host app@" + digest.FromString("other").String() + " is gone")},
		} {
			at = at.Add(time.Second)
			e.Time, e.Ref = at, "app"
			tl.Apply(e)
		}
		failedAt[blob] = at
	}
	for blob, at := range failedAt {
		if l := tl.byBlob[blobName{"app", blob}]; !l.failed || l.ended != at || l.spans[0].to != at {
			t.Errorf("got %+v, want a lane that failed at %s", l, at)
		}
	}
	if l := tl.byBlob[blobName{ref: "app"}]; !l.failed || l.ended != at {
		t.Errorf("got %+v, want the image failed at %s", l, at)
	}
}
