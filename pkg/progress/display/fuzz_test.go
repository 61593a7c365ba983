package display_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// FuzzForeignText: whatever registries and log lines hold, a log gets whole
// printable lines, and every line of the JSON stream is an object without control
// characters.
func FuzzForeignText(f *testing.F) {
	f.Add("plain", "host:5000")
	f.Add("\x1b[2J\x1b]0;title\x07", "\u009b31m\x9b1A")
	f.Add("two\r\nlines\ttab", "\u202eright to left\u2028")
	f.Add("\x1b", "\xff\xfe\x00")
	f.Fuzz(func(t *testing.T, message, name string) {
		for _, mode := range []string{display.ModePlain, display.ModeJSON} {
			var buf bytes.Buffer
			d := start(t, display.Options{Out: &buf, Mode: mode})
			scene.Play(d.Sink(),
				progress.Event{Kind: progress.Warning, Ref: name, Message: message},
				progress.Event{Kind: progress.Retry, Ref: name, Host: name, Reason: message},
				progress.Event{Kind: progress.Resolved, Ref: name, Host: name, MediaType: message},
				progress.Event{Kind: progress.Registered, Ref: name})
			if _, err := d.Writer().Write([]byte(message)); err != nil {
				t.Fatal(err)
			}
			finish(t, d)
			for line := range strings.Lines(buf.String()) {
				checkLine(t, mode, line)
			}
		}
	})
}

func checkLine(t *testing.T, mode, line string) {
	t.Helper()
	text, whole := strings.CutSuffix(line, "\n")
	if !whole {
		t.Errorf("%s: got a line without an end: %q", mode, line)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }); i >= 0 {
		t.Errorf("%s: got a control character at %d of %q", mode, i, line)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }); mode == display.ModePlain && i >= 0 {
		t.Errorf("got a character that is not printable at %d of %q", i, line)
	}
	if mode == display.ModeJSON && !json.Valid([]byte(text)) {
		t.Errorf("got a line that is no JSON: %q", line)
	}
}
