package progress_test

import (
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
