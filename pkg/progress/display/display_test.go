package display_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		o    display.Options
		want string
	}{
		{display.Options{}, "no output"},
		{display.Options{Out: &bytes.Buffer{}, Mode: "fancy"}, `unknown progress mode "fancy": want one of auto, tty, plain, json, none`},
		{display.Options{Out: &bytes.Buffer{}, Mode: display.ModeJSON, Quiet: true}, "cannot be quiet"},
	} {
		if _, err := display.New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got error %v, want %q", tt.o, err, tt.want)
		}
	}
}

// Every mode works without a terminal, tty too if it is asked for, at the width
// of COLUMNS.
func TestModes(t *testing.T) {
	columns := env(map[string]string{"COLUMNS": "40"})
	for _, mode := range display.Modes() {
		var buf bytes.Buffer
		d := start(t, display.Options{Out: &buf, Mode: mode, Env: columns})
		scene.Play(d.Sink(), scene.Opening()...)
		finish(t, d)
		if got, want := strings.Contains(buf.String(), "\x1b["), mode == display.ModeTTY; got != want {
			t.Errorf("%s: got sequences %v, want %v: %q", mode, got, want, buf.String())
		}
	}
}

// A reader that takes nothing neither blocks the sink nor makes the display
// remember every bit of progress.
func TestBlockedOutput(t *testing.T) {
	for _, mode := range []string{display.ModeTTY, display.ModePlain, display.ModeJSON} {
		t.Run(mode, func(t *testing.T) {
			var buf bytes.Buffer
			out := &blockedOutput{blocked: make(chan struct{}), release: make(chan struct{}), Writer: &buf}
			d := start(t, display.Options{Out: out, Mode: mode})
			scene.Play(d.Sink(), scene.Opening()...)
			<-out.blocked
			events := sampled(100_000)
			started := time.Now()
			for i := range events {
				scene.Play(d.Sink(), scene.Of(scene.Layer, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: int64(i), Total: int64(events)}})...)
			}
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("got %d events into the sink in %v", events, took)
			}
			fmt.Fprintln(d.Writer(), "log")
			close(out.release)
			finish(t, d)
			if !strings.Contains(buf.String(), "log") {
				t.Errorf("got %q, want the log line in it", buf.String())
			}
			if got := strings.Count(buf.String(), "fetch.progress"); mode == display.ModeJSON && got != 1 {
				t.Errorf("got %d progress events, want the newest only", got)
			}
		})
	}
}

// Close reports the first write that failed; after it nothing is written any
// more.
func TestBrokenOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &brokenOutput{}
		d := start(t, display.Options{Out: out, Mode: display.ModePlain})
		for range 3 {
			scene.Play(d.Sink(), scene.Pull()...)
			time.Sleep(time.Second)
		}
		for range 2 {
			if err := d.Close(); !errors.Is(err, errBroken) {
				t.Errorf("got error %v from Close, want %v", err, errBroken)
			}
		}
		if out.writes != 1 {
			t.Errorf("got %d writes, want 1", out.writes)
		}
	})
}

// Sink, Writer and Close may be used by many goroutines at once, also while
// and after the display is closed. Lines stay whole.
func TestManyGoroutines(t *testing.T) {
	lines := sampled(200)
	for _, mode := range display.Modes() {
		var buf bytes.Buffer
		d := start(t, display.Options{Out: &buf, Mode: mode})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for k := range lines {
					scene.Play(d.Sink(), scene.Pull()...)
					fmt.Fprintf(d.Writer(), "<%d-%d>\n", i, k)
				}
			})
		}
		wg.Go(func() { d.Close() })
		wg.Wait()
		finish(t, d)
		for i := range 8 {
			if want := fmt.Sprintf("<%d-%d>", i, lines-1); !strings.Contains(buf.String(), want) {
				t.Errorf("%s: got no line %s", mode, want)
			}
		}
	}
}

// Events keep their order, whatever is coalesced.
func TestOrder(t *testing.T) {
	var buf bytes.Buffer
	d := start(t, display.Options{Out: &buf, Mode: display.ModeJSON})
	for i := range 100 {
		scene.Play(d.Sink(), scene.Of(scene.Nth(i),
			progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 2}},
			progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 1, Total: 2}},
			progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 2}})...)
	}
	finish(t, d)
	var got, want []string
	for _, e := range decoded(t, buf.String()) {
		got = append(got, fmt.Sprint(e.Digest, e.Kind))
	}
	for i := range 100 {
		for _, kind := range []progress.Kind{progress.FetchStart, progress.FetchProgress, progress.FetchDone} {
			want = append(want, fmt.Sprint(scene.Nth(i), kind))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got events in order %v, want %v", got, want)
	}
}
