package display

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// heartbeat is how long a running blob may go without a line.
const heartbeat = 10 * time.Second

// plain renders one line per change of state, and a heartbeat for each running
// blob: for logs, where nothing can be redrawn. Manifests and configs get a line
// only when they take long or fail.
type plain struct {
	buf    bytes.Buffer
	spoken map[*progress.BlobState]time.Time // when the last line of a blob was written
}

func newPlain() *plain { return &plain{spoken: map[*progress.BlobState]time.Time{}} }

func (p *plain) line(text string) {
	p.buf.WriteString(text)
	p.buf.WriteByte('\n')
}

func (p *plain) event(s *progress.State, e progress.Event) {
	if text := permanent(s, e); text != "" {
		p.line(text)
	}
	b := s.Blob(e)
	if b == nil {
		return
	}
	if _, known := p.spoken[b]; !known {
		p.spoken[b] = e.Time
	}
	if text := change(b, e); text != "" {
		p.line(progress.ShortDigest(b.Digest) + ": " + text)
		p.spoken[b] = e.Time
	}
}

// frame adds the heartbeats that are due.
func (p *plain) frame(s *progress.State, now time.Time, _ bool) []byte {
	for _, img := range s.Images {
		for _, b := range img.Blobs {
			if img.Outcome == "" && b.IsActive() && now.Sub(p.spoken[b]) >= heartbeat {
				p.line(progress.ShortDigest(b.Digest) + ": " + beat(b, now))
				p.spoken[b] = now
			}
		}
	}
	return drain(&p.buf)
}

// permanent is the line for an event about an image or the whole call.
func permanent(s *progress.State, e progress.Event) string {
	switch e.Kind {
	case progress.Resolved:
		return fmt.Sprintf("%s: resolved %s", printable.Line(e.Ref), e.Digest) + list(mediaName(e.MediaType), e.Host)
	case progress.HostFailed:
		return fmt.Sprintf("%s: host %s: %s", printable.Line(e.Ref), printable.Line(e.Host), e.Cause())
	case progress.Retry:
		if s.Blob(e) == nil { // a tag or a manifest on the way to the target
			return printable.Line(e.Ref) + ": " + e.RetryText()
		}
	case progress.Warning:
		return "warning: " + e.Cause()
	case progress.Ended:
		if e.Message != "" {
			return printable.Line(e.Ref) + ": " + e.Cause()
		}
	case progress.Registered:
		return closing(s.Image(e.Ref), e)
	case progress.Summary:
		return callClosing(s, e)
	}
	return ""
}

// change is the line for an event about a blob, without its digest.
func change(b *progress.BlobState, e progress.Event) string {
	if e.Kind == progress.Retry {
		return e.RetryText()
	}
	if b.Kind != progress.Layer {
		return ""
	}
	switch e.Kind {
	case progress.FetchStart:
		return fetchText(b)
	case progress.FetchDone:
		return "fetched " + progress.Size(b.Size)
	case progress.UnpackDone:
		return "unpacked " + progress.Size(b.Unpacked)
	case progress.Present:
		return "present"
	}
	return ""
}

func fetchText(b *progress.BlobState) string {
	text := "fetching " + progress.Size(b.Size-b.Resumed)
	if b.Host != "" {
		text += " from " + printable.Line(b.Host)
	}
	if b.Resumed > 0 {
		text += fmt.Sprintf(", %s of %s held", progress.Size(b.Resumed), progress.Size(b.Size))
	}
	return text
}

// beat is how far a running blob has come.
func beat(b *progress.BlobState, now time.Time) string {
	var parts []string
	if !b.Present && (b.Fetched > 0 || b.IsFetching()) {
		parts = append(parts, fmt.Sprintf("fetched %s of %s", progress.Size(b.Fetched), progress.Size(b.Size)))
	}
	if b.IsUnpacking() {
		text := "unpacked " + progress.Size(b.Unpacked)
		if b.UnpackedSize > 0 {
			text += " of " + progress.Size(b.UnpackedSize)
		}
		parts = append(parts, text)
	}
	if b.IsVerifying() {
		parts = append(parts, fmt.Sprintf("verified %s of %s", progress.Size(b.Hashed), progress.Size(b.Size)))
	}
	if text := b.Trouble.Text(now); text != "" {
		parts = append(parts, printable.Line(text))
	}
	return strings.Join(parts, ", ")
}

// closing is the summary line of an image.
func closing(img *progress.Image, e progress.Event) string {
	outcome := string(img.Outcome)
	if img.Outcome == progress.Relabelled {
		outcome += list(e.NewLabels...)
	}
	text := fmt.Sprintf("%s: %s, %s", printable.Line(img.Ref), outcome,
		traffic(progress.Traffic{Fetched: img.Fetched, Reused: img.Reused}, img.Duration))
	if e.Engine != "" {
		text += ", engine " + e.Engine
	}
	return text
}

// callClosing sums up a call for several images; for a single one its closing
// line is enough.
func callClosing(s *progress.State, e progress.Event) string {
	if e.Counts.Images < 2 {
		return ""
	}
	t := s.Totals()
	return fmt.Sprintf("%s: %d failed, %s", progress.Plural(e.Counts.Images, "image"), e.Counts.Failed,
		traffic(progress.Traffic{Fetched: t.BytesFetched, Reused: t.BytesReused}, e.Duration))
}

// traffic is where bytes came from, and how fast those that were fetched came.
func traffic(t progress.Traffic, took time.Duration) string {
	text := fmt.Sprintf("%s fetched, %s reused, %s", progress.Size(t.Fetched), progress.Size(t.Reused), progress.Duration(took))
	if rate := progress.MeanSpeed(t.Fetched, took); rate != "" {
		text += ", " + rate
	}
	return text
}

// mediaName is a media type in one word: "index" or "manifest", also for Docker's
// types, else its last part.
func mediaName(mediaType string) string {
	name, _, _ := strings.Cut(printable.Line(mediaType), "+")
	for _, known := range []progress.Blob{progress.Index, progress.Manifest} {
		if strings.Contains(name, "."+string(known)+".v") {
			return string(known)
		}
	}
	if strings.Contains(name, ".manifest.list.v") {
		return string(progress.Index)
	}
	return name[strings.LastIndex(name, "/")+1:]
}

// list returns the words that are not empty in brackets: " (index, quay.io)".
func list(words ...string) string {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	if len(words) == 0 {
		return ""
	}
	return " (" + printable.Line(strings.Join(words, ", ")) + ")"
}
