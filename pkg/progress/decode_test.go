package progress_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

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

// endless is a stream that never ends: line after line by number.
type endless struct {
	line func(int) string
	next int
	rest string
}

func (e *endless) Read(p []byte) (int, error) {
	for len(e.rest) < len(p) {
		e.rest += e.line(e.next)
		e.next++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestRule7EndlessEvents wants an end of each stream that has none, and few names
// before it.
func TestRule7EndlessEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("reads hundreds of megabytes")
	}
	const head = `{"v":1,"time":"2026-01-05T10:00:00Z","event":`
	block := strings.Repeat("no event", 1<<12) + "\n"
	long := head + `"warning","reason":"` + strings.Repeat("x", 64<<10) + "\"}\n"
	for name, line := range map[string]func(int) string{
		"no events": func(int) string { return block },
		"warnings": func(n int) string { // few, for they are slow to decode
			if n%10 == 0 {
				return long
			}
			return block
		},
		"blobs": func(n int) string {
			return head + fmt.Sprintf(`"planned","ref":"a","digest":"sha256:%064x"}`, n) + "\n"
		},
		"images": func(n int) string { return head + fmt.Sprintf(`"planned","ref":"a%d"}`, n) + "\n" },
		"lists": func(n int) string {
			return head + fmt.Sprintf(`"start","refs":["a%d","b%d","c%d"]}`, n, n, n) + "\n"
		},
		"a line": func(int) string { return strings.Repeat("x", 1<<16) },
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			err := progress.ReadEvents(&endless{line: line}, func(e progress.Event) {
				seen[e.Ref+" "+e.Digest.String()] = true
				for _, ref := range e.Refs {
					seen[ref+" "] = true
				}
			})
			if !errdefs.IsInvalidArgument(err) || len(seen) > 50_001 {
				t.Errorf("got %v with %d names, want an invalid argument and at most 50,001", err, len(seen))
			}
		})
	}
}
