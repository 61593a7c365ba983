package display_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// onScreen plays play in a bubble of time, with a display on a terminal of the
// given size.
func onScreen(t *testing.T, width, height int, vars map[string]string, play func(s *screen, d *display.Display)) *screen {
	t.Helper()
	s := newScreen(t, width, height)
	synctest.Test(t, func(t *testing.T) {
		play(s, start(t, display.Options{Out: s, Env: env(vars)}))
	})
	return s
}

// soon lets the display draw what came before.
func soon() { time.Sleep(100 * time.Millisecond) }

// halfway leaves a pull with a layer in each state: present, done, unpacking,
// fetching, waiting for a retry, waiting.
func halfway(sink progress.Sink) {
	scene.Play(sink, scene.Opening()...)
	scene.Play(sink, scene.Planned(6)...)
	scene.Play(sink, scene.Of(scene.Nth(0), progress.Event{Kind: progress.Present, Bytes: progress.Bytes{Total: 10 * scene.MB}})...)
	for i := 1; i < 5; i++ {
		scene.Play(sink, scene.Of(scene.Nth(i), progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub})...)
	}
	time.Sleep(2 * time.Second)
	for i := 1; i < 3; i++ {
		scene.Play(sink, scene.Of(scene.Nth(i),
			progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 10 * scene.MB}},
			progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain})...)
	}
	scene.Play(sink, scene.Of(scene.Nth(1), progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 30 * scene.MB}})...)
	scene.Play(sink, scene.Of(scene.Nth(3), progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 4 * scene.MB, Total: 10 * scene.MB}})...)
	scene.Play(sink, scene.Of(scene.Nth(4),
		progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 1 * scene.MB, Total: 10 * scene.MB}},
		progress.Event{Kind: progress.Retry, Attempt: 2, Wait: time.Minute, Reason: "reset", Err: scene.Reset(), Host: scene.Hub})...)
	time.Sleep(time.Second)
	scene.Play(sink, scene.Of(scene.Nth(2), progress.Event{Kind: progress.UnpackProgress, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 12 * scene.MB}, Consumed: 4 * scene.MB})...)
	soon()
}

// frames are the frames of halfway at each width.
func frames() map[int]string {
	return map[int]string{
		40: `
docker.io/library/debian:latest
000000000000 present          10.0 MB
000100000000 done             10.0 MB
000200000000 unpacking    4.0/10.0 MB
000300000000 fetching     4.0/10.0 MB
000400000000 retrying (reset)
000500000000 waiting          10.0 MB
25.0/50.0 MB 8.3 MB/s 39 % ETA 3s
`,
		80: `
docker.io/library/debian:latest 3f1d6c17773a
  000000000000 present                     10.0 MB
  000100000000 done                        10.0 MB
  000200000000 unpacking [#####   ]    4.0/10.0 MB   4.0 MB/s registry-1.docke…
  000300000000 fetching  [=       ]    4.0/10.0 MB   1.3 MB/s registry-1.docke…
  000400000000 retrying (reset)        1.0/10.0 MB     in 59s registry-1.docke…
  000500000000 waiting                     10.0 MB
total  25.0/50.0 MB  8.3 MB/s  39 %  ETA 3s  2/6 layers  1 retry
`,
		160: `
docker.io/library/debian:latest 3f1d6c17773a
  000000000000 present                                         10.0 MB
  000100000000 done                                            10.0 MB
  000200000000 unpacking [###################         ]    4.0/10.0 MB   4.0 MB/s registry-1.docker.io
  000300000000 fetching  [=====                       ]    4.0/10.0 MB   1.3 MB/s registry-1.docker.io
  000400000000 retrying (reset) [=                    ]    1.0/10.0 MB     in 59s registry-1.docker.io
  000500000000 waiting                                         10.0 MB
total  25.0/50.0 MB  8.3 MB/s  39 %  ETA 3s  2/6 layers  1 retry
`,
	}
}

func TestFrames(t *testing.T) {
	for width, want := range frames() {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			var got string
			onScreen(t, width, 24, nil, func(s *screen, d *display.Display) {
				halfway(d.Sink())
				got = s.String()
			})
			if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
				t.Errorf("got another frame (-want +got):\n%s\n%s", diff, got)
			}
		})
	}
}

// A width that is not the terminal's is taken from COLUMNS; rows that are too
// wide for the terminal are cut and do not break the region.
func TestColumnsWin(t *testing.T) {
	s := onScreen(t, 60, 24, map[string]string{"COLUMNS": "160"}, func(s *screen, d *display.Display) {
		halfway(d.Sink())
		soon()
		halfway(d.Sink())
	})
	if got := strings.Count(s.String(), "debian:latest"); got != 1 {
		t.Errorf("got %d copies of the region, want 1:\n%s", got, s)
	}
	if raw, _ := s.bytes(); !strings.Contains(raw, scene.Hub) {
		t.Errorf("got rows without the host, want them as wide as COLUMNS:\n%q", raw)
	}
}

func TestResize(t *testing.T) {
	for _, widths := range [][]int{{80, 40}, {160, 40, 80}, {40, 160}, {120, 61, 59, 40, 45}} {
		t.Run(fmt.Sprint(widths), func(t *testing.T) {
			var got, want string
			onScreen(t, widths[0], 40, nil, func(s *screen, d *display.Display) {
				fmt.Fprintln(d.Writer(), "before")
				halfway(d.Sink())
				for _, w := range widths[1:] {
					s.resize(w, 40)
					soon()
				}
				got = s.String()
			})
			onScreen(t, widths[len(widths)-1], 40, nil, func(s *screen, d *display.Display) {
				fmt.Fprintln(d.Writer(), "before")
				halfway(d.Sink())
				time.Sleep(time.Duration(len(widths)) * 100 * time.Millisecond)
				got, want = withoutRates(got), withoutRates(s.String())
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("got another screen than without a resize (-want +got):\n%s", diff)
			}
		})
	}
}

// withoutRates blanks what depends on when exactly a frame was drawn.
func withoutRates(frame string) string {
	return regexp.MustCompile(` *([0-9.]+ MB/s|ETA [0-9]+s)`).ReplaceAllString(frame, " RATE")
}

// Hundreds of layers and several images never need more rows than there are:
// what is being worked on is shown, the rest is counted.
func TestFolding(t *testing.T) {
	var got string
	onScreen(t, 80, 10, nil, func(s *screen, d *display.Display) {
		sink := d.Sink()
		sink.Emit(progress.Event{Kind: progress.Start, Refs: []string{scene.Debian, "quay.io/app:v1", "quay.io/app:v2"}})
		scene.Play(sink, scene.Planned(300)...)
		for i := range 60 {
			scene.Play(sink, scene.Of(scene.Nth(i), progress.Event{Kind: progress.Present, Bytes: progress.Bytes{Total: 10 * scene.MB}})...)
		}
		for i := 200; i < 204; i++ {
			scene.Play(sink, scene.Of(scene.Nth(i), progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub})...)
		}
		soon()
		soon()
		got = s.String()
	})
	want := `
docker.io/library/debian:latest resolving
  020000000000 fetching  [        ]    0.0/10.0 MB      0 B/s registry-1.docke…
  020100000000 fetching  [        ]    0.0/10.0 MB      0 B/s registry-1.docke…
  020200000000 fetching  [        ]    0.0/10.0 MB      0 B/s registry-1.docke…
  020300000000 fetching  [        ]    0.0/10.0 MB      0 B/s registry-1.docke…
quay.io/app:v1 resolving
quay.io/app:v2 resolving
+ 296 layers: 236 waiting, 60 present
total  0.0/2.4 GB  0 B/s  0 %  60/300 layers
`
	if diff := cmp.Diff(want[1:], got); diff != "" {
		t.Errorf("got another frame (-want +got):\n%s", diff)
	}
}

func TestSeveralImages(t *testing.T) {
	var during, after string
	onScreen(t, 100, 24, nil, func(s *screen, d *display.Display) {
		sink := d.Sink()
		refs := []string{scene.Debian, "quay.io/app:v1", "quay.io/app:v2"}
		sink.Emit(progress.Event{Kind: progress.Start, Refs: refs, Engine: "client"})
		for i, ref := range refs[:2] {
			scene.Play(sink,
				progress.Event{Kind: progress.Resolved, Ref: ref, Digest: scene.Nth(90 + i)},
				progress.Event{Kind: progress.FetchStart, Ref: ref, Digest: scene.Nth(i), Blob: progress.Layer, Bytes: progress.Bytes{Total: scene.MB}, Host: "quay.io"})
		}
		soon()
		during = s.String()
		scene.Play(sink,
			progress.Event{Kind: progress.Registered, Ref: refs[1], Digest: scene.Nth(91), Traffic: progress.Traffic{Fetched: scene.MB, Reused: 3 * scene.MB}, Duration: time.Second, Engine: "client"},
			progress.Event{Kind: progress.Error, Ref: refs[2], Err: scene.Reset()},
			progress.Event{Kind: progress.Warning, Ref: refs[0], Message: "slow \x1b[2Jhost"},
			progress.Event{Kind: progress.Resolved, Ref: "seen", Digest: scene.Nth(3)},
			progress.Event{Kind: progress.Ended, Ref: "seen", Message: "all of it\nis here"})
		soon()
		after = s.String()
	})
	wantDuring := `
docker.io/library/debian:latest 009000000000
  000000000000 fetching  [                            ]     0.0/1.0 MB      0 B/s quay.io
quay.io/app:v1 009100000000
  000100000000 fetching  [                            ]     0.0/1.0 MB      0 B/s quay.io
quay.io/app:v2 resolving
total  0.0/2.0 MB  0 B/s  0 %  0/2 layers
`
	if diff := cmp.Diff(wantDuring[1:], during); diff != "" {
		t.Errorf("got another frame (-want +got):\n%s", diff)
	}
	wantAfter := `
quay.io/app:v1: up to date, 1.0 MB fetched, 3.0 MB reused, 1.0s, 1.0 MB/s, engine client
warning: slow host
seen: all of it is here
docker.io/library/debian:latest 009000000000
  000000000000 fetching  [                            ]     0.0/1.0 MB      0 B/s quay.io
total  0.0/2.0 MB  0 B/s  0 %  0/2 layers
`
	if diff := cmp.Diff(wantAfter[1:], after); diff != "" {
		t.Errorf("got another frame (-want +got):\n%s", diff)
	}
}

// What a smaller region no longer covers is erased.
func TestShrink(t *testing.T) {
	var got string
	onScreen(t, 80, 24, nil, func(s *screen, d *display.Display) {
		scene.Play(d.Sink(), progress.Event{Kind: progress.Start, Refs: []string{scene.Debian, "quay.io/app:v1", "quay.io/app:v2"}})
		soon()
		for _, ref := range []string{scene.Debian, "quay.io/app:v1"} {
			d.Sink().Emit(progress.Event{Kind: progress.Error, Ref: ref, Err: scene.Reset()})
		}
		soon()
		got = s.String()
	})
	if want := "quay.io/app:v2 resolving\ntotal  0 B\n"; got != want {
		t.Errorf("got screen %q, want %q", got, want)
	}
}

// The final frame of a pull that came to its end is its closing line; that of
// one that did not shows where it stopped.
func TestFinalFrame(t *testing.T) {
	t.Run("registered", func(t *testing.T) {
		s := onScreen(t, 100, 24, nil, func(s *screen, d *display.Display) {
			halfway(d.Sink())
			fmt.Fprint(d.Writer(), "a line without an end")
			d.Sink().Emit(progress.Event{Kind: progress.Registered, Ref: scene.Debian, Digest: scene.Index, Changed: true,
				Traffic: progress.Traffic{Fetched: 48487936}, Duration: 6134 * time.Millisecond, Engine: "client"})
			finish(t, d)
			fmt.Fprintln(d.Writer(), "a late line")
		})
		want := `
docker.io/library/debian:latest: new, 48.5 MB fetched, 0 B reused, 6.1s, 7.9 MB/s, engine client
a line without an end
a late line
`
		if diff := cmp.Diff(want[1:], s.String()); diff != "" {
			t.Errorf("got another end (-want +got):\n%s", diff)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		s := onScreen(t, 80, 24, nil, func(s *screen, d *display.Display) {
			halfway(d.Sink())
			finish(t, d)
			fmt.Fprintln(d.Writer(), "interrupted")
		})
		got := strings.Split(strings.TrimSpace(s.String()), "\n")
		if len(got) != 9 || got[8] != "interrupted" || !strings.Contains(got[4], "fetching") {
			t.Errorf("got end %q, want the last frame and a line below it", got)
		}
	})
}

func TestRedrawsPerSecond(t *testing.T) {
	s := onScreen(t, 80, 24, nil, func(s *screen, d *display.Display) {
		scene.Play(d.Sink(), scene.Opening()...)
		scene.Play(d.Sink(), scene.Planned(3)...)
		for i := range 10_000 {
			time.Sleep(time.Millisecond)
			scene.Play(d.Sink(), scene.Of(scene.Nth(0), progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: int64(i) * 1000, Total: 10 * scene.MB}})...)
		}
	})
	if _, writes := s.bytes(); writes < 100 || writes > 151 {
		t.Errorf("got %d redraws in 10 s, want 100 to 150", writes)
	}
}

// colours matches a sequence that sets an attribute.
var colours = regexp.MustCompile("\x1b\\[[0-9;]+m")

func TestColour(t *testing.T) {
	for _, tt := range []struct {
		name string
		vars map[string]string
		mode string
		want bool
	}{
		{"terminal", map[string]string{"TERM": "xterm"}, display.ModeAuto, true},
		{"NO_COLOR", map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, display.ModeAuto, false},
		{"dumb terminal, asked for", map[string]string{"TERM": "dumb"}, display.ModeTTY, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScreen(t, 80, 24)
			synctest.Test(t, func(t *testing.T) {
				halfway(start(t, display.Options{Out: s, Mode: tt.mode, Env: env(tt.vars)}).Sink())
			})
			raw, _ := s.bytes()
			if !strings.Contains(raw, "\x1b[8A") {
				t.Errorf("got no region: %q", raw)
			}
			if got := colours.MatchString(raw); got != tt.want {
				t.Errorf("got colour %v, want %v: %q", got, tt.want, raw)
			}
		})
	}
}

// A dumb terminal and a pipe get lines, never a sequence or a carriage return.
func TestNoSequencesOutsideOfTheRegion(t *testing.T) {
	for _, mode := range []string{display.ModePlain, display.ModeJSON, display.ModeNone} {
		var buf bytes.Buffer
		d := start(t, display.Options{Out: &buf, Mode: mode})
		scene.Play(d.Sink(), scene.Pull()...)
		d.Sink().Emit(progress.Event{Kind: progress.Warning, Message: "\x1b[31mred\x1b[0m\r\nalert \u009b2J"})
		fmt.Fprintf(d.Writer(), "\x1b[1mbold\x1b[0m line\r\n")
		finish(t, d)
		if i := strings.IndexFunc(buf.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); i >= 0 {
			t.Errorf("%s: got a control character at %d: %q", mode, i, buf.String())
		}
	}
	s := newScreen(t, 80, 24)
	d := start(t, display.Options{Out: s, Env: env(map[string]string{"TERM": "dumb"})})
	scene.Play(d.Sink(), scene.Pull()...)
	finish(t, d)
	if raw, _ := s.bytes(); strings.Contains(raw, "\x1b") || !strings.Contains(raw, "64bb0415b0a1: fetched 48.5 MB") {
		t.Errorf("got %q on a dumb terminal, want plain lines", raw)
	}
}

// Whatever the screen's size, no row is wider and no frame higher than it.
func TestAnySize(t *testing.T) {
	step := 7
	if testing.Short() { // a sample: all widths take more than half a second
		step = 31
	}
	for width := 1; width <= 120; width += step {
		for _, height := range []int{1, 2, 3, 5, 12} {
			s := onScreen(t, width, height, nil, func(s *screen, d *display.Display) { halfway(d.Sink()) })
			if got := strings.Count(s.String(), "\n"); got > max(height-1, 1) { // no region is still one empty line
				t.Errorf("%dx%d: got %d rows:\n%s", width, height, got, s)
			}
			for text := range strings.Lines(s.String()) {
				if got := ansi.StringWidth(strings.TrimSuffix(text, "\n")); got > width {
					t.Errorf("%dx%d: got a row of %d cells: %q", width, height, got, text)
				}
			}
		}
	}
}

// TestPause: while a program asks on the terminal the region is gone and nothing
// is written, whatever happens; afterwards all of it is shown.
func TestPause(t *testing.T) {
	onScreen(t, 80, 12, nil, func(s *screen, d *display.Display) {
		halfway(d.Sink())
		resume, again := d.Pause(), d.Pause()
		s.sync()
		if text := strings.TrimSpace(s.String()); text != "" {
			t.Errorf("got a paused display of\n%s\nwant none", text)
		}
		if _, err := s.Write([]byte("PIN: ")); err != nil {
			t.Error(err)
		}
		_, before := s.bytes()
		scene.Play(d.Sink(), progress.Event{Kind: progress.Warning, Message: "mind the gap"})
		again()
		again()
		soon()
		if _, after := s.bytes(); after != before {
			t.Errorf("got %d frames while paused", after-before)
		}
		resume()
		soon()
		s.sync()
		if text := s.String(); !strings.Contains(text, "mind the gap") || !strings.Contains(text, "000200000000") || strings.Contains(text, "PIN") {
			t.Errorf("got\n%s\nwant the warning and the region, and no more of the question", text)
		}
	})
}

// While a retry is waited for, its reason can be seen; a host that
// sends nothing is stalled, with the time, and has no rate of 0.
func TestN5TroubleIsVisible(t *testing.T) {
	fetch := progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub}
	stall := progress.Event{Kind: progress.Stalled, Host: scene.Hub, Wait: 3 * time.Second}
	moved := progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: scene.MB, Total: 10 * scene.MB}}
	target := func(e progress.Event) progress.Event { e.Ref = scene.Debian; return e }
	refused := target(progress.Event{Kind: progress.Retry, Attempt: 6, Wait: 7 * time.Second, Reason: "refused", Host: scene.Hub})
	for _, tc := range []struct {
		name      string
		events    []progress.Event
		want, not string
	}{
		{"target that is refused", []progress.Event{refused}, "debian:latest retrying (refused), try 6 in 7s", "resolving"},
		{"target that is stalled", []progress.Event{target(stall)}, "debian:latest stalled 3 s", "resolving"},
		{"target that came after a stall", []progress.Event{target(stall), target(progress.Event{Kind: progress.Resolved, Digest: scene.Layer})}, "debian:latest " + progress.ShortDigest(scene.Layer), "stalled"},
		{"layer that is stalled", scene.Of(scene.Nth(1), fetch, stall), "stalled 3 s", " 0 B/s registry"},
		{"layer that goes on after a stall", scene.Of(scene.Nth(1), fetch, stall, moved), "fetching", "stalled"},
		{"layer that is tried again", scene.Of(scene.Nth(1), fetch, stall, progress.Event{Kind: progress.Retry, Attempt: 1, Wait: 8 * time.Second, Reason: "stall"}), "retrying (stall)", "stalled"},
		{"reason that is a sentence", scene.Of(scene.Nth(1), fetch, progress.Event{Kind: progress.Retry, Attempt: 1, Message: strings.Repeat("long\x1b ", 20)}), "retrying (long", "\x1b "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				d, err := display.New(display.Options{Mode: display.ModeTTY, Out: &out, Env: func(name string) string { return map[string]string{"COLUMNS": "100", "NO_COLOR": "1"}[name] }})
				if err != nil {
					t.Fatal(err)
				}
				scene.Play(d.Sink(), progress.Event{Kind: progress.Start, Refs: []string{scene.Debian}})
				scene.Play(d.Sink(), tc.events...)
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				if got := out.String(); !strings.Contains(got, tc.want) || strings.Contains(got, tc.not) {
					t.Errorf("got %q, want %q and not %q in it", got, tc.want, tc.not)
				}
			})
		})
	}
}
