package progress

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// heartbeat is how long a running blob may go without a line.
const heartbeat = 10 * time.Second

// plain renders one line per change of state and a heartbeat per running blob:
// for logs, where nothing can be redrawn. Manifests and configs are mentioned
// only when they take long or fail.
type plain struct {
	buf    bytes.Buffer
	spoken map[*BlobState]time.Time // when the last line of a blob was written
}

func newPlain() *plain { return &plain{spoken: map[*BlobState]time.Time{}} }

func (p *plain) line(text string) {
	p.buf.WriteString(text)
	p.buf.WriteByte('\n')
}

func (p *plain) event(s *State, e Event) {
	if text := permanent(s, e); text != "" {
		p.line(text)
	}
	b := s.find(e)
	if b == nil {
		return
	}
	if _, known := p.spoken[b]; !known {
		p.spoken[b] = e.Time
	}
	if text := change(b, e); text != "" {
		p.line(short(b.Digest) + ": " + text)
		p.spoken[b] = e.Time
	}
}

// frame adds the heartbeats that are due.
func (p *plain) frame(s *State, now time.Time, _ bool) []byte {
	for _, img := range s.Images {
		for _, b := range img.Blobs {
			if img.Outcome == "" && b.active() && now.Sub(p.spoken[b]) >= heartbeat {
				p.line(short(b.Digest) + ": " + beat(b))
				p.spoken[b] = now
			}
		}
	}
	return drain(&p.buf)
}

// permanent is the line for an event about an image or the whole call.
func permanent(s *State, e Event) string {
	switch e.Kind {
	case Resolved:
		return fmt.Sprintf("%s: resolved %s", clean(e.Ref), e.Digest) + list(mediaName(e.MediaType), e.Host)
	case HostFailed:
		return fmt.Sprintf("%s: host %s: %s", clean(e.Ref), clean(e.Host), e.cause())
	case Retry:
		if s.find(e) == nil { // a tag or a manifest on the way to the target
			return clean(e.Ref) + ": " + retryText(e)
		}
	case Warning:
		return "warning: " + e.cause()
	case Registered:
		return closing(s.image(e.Ref), e)
	case Summary:
		return callClosing(s, e)
	}
	return ""
}

// change is the line for an event about a blob, without its digest.
func change(b *BlobState, e Event) string {
	if e.Kind == Retry {
		return retryText(e)
	}
	if b.Kind != Layer {
		return ""
	}
	switch e.Kind {
	case FetchStart:
		return fetchText(b)
	case FetchDone:
		return "fetched " + Size(b.Size)
	case UnpackDone:
		return "unpacked " + Size(b.Unpacked)
	case Present:
		return "present"
	}
	return ""
}

func fetchText(b *BlobState) string {
	text := "fetching " + Size(b.Size-b.Resumed)
	if b.Host != "" {
		text += " from " + clean(b.Host)
	}
	if b.Resumed > 0 {
		text += fmt.Sprintf(", %s of %s held", Size(b.Resumed), Size(b.Size))
	}
	return text
}

func retryText(e Event) string {
	return fmt.Sprintf("retry %d in %s: %s", e.Attempt, duration(e.Wait), e.cause()) + list(e.Host)
}

// beat tells how far a running blob has come.
func beat(b *BlobState) string {
	var parts []string
	if b.Fetched > 0 || b.fetch == running {
		parts = append(parts, fmt.Sprintf("fetched %s of %s", Size(b.Fetched), Size(b.Size)))
	}
	if b.unpack == running {
		text := "unpacked " + Size(b.Unpacked)
		if b.UnpackedSize > 0 {
			text += " of " + Size(b.UnpackedSize)
		}
		parts = append(parts, text)
	}
	if b.hash == running {
		parts = append(parts, fmt.Sprintf("verified %s of %s", Size(b.Hashed), Size(b.Size)))
	}
	if b.Attempt > 0 {
		parts = append(parts, fmt.Sprintf("waiting for retry %d", b.Attempt))
	}
	return strings.Join(parts, ", ")
}

// closing is the summary line of an image.
func closing(img *Image, e Event) string {
	text := fmt.Sprintf("%s: %s, %s fetched, %s reused, %s, %s", clean(img.Ref), img.Outcome,
		Size(img.Fetched), Size(img.Reused), duration(img.Duration), speed(average(img.Fetched, img.Duration)))
	if e.Engine != "" {
		text += ", engine " + e.Engine
	}
	return text
}

// callClosing sums up a call for several images; for one, its own line says it
// all.
func callClosing(s *State, e Event) string {
	if e.Counts.Images < 2 {
		return ""
	}
	t := s.Totals()
	return fmt.Sprintf("%d images: %d failed, %s fetched, %s reused, %s, %s", e.Counts.Images, e.Counts.Failed,
		Size(t.BytesFetched), Size(t.BytesReused), duration(e.Duration), speed(average(t.BytesFetched, e.Duration)))
}

// mediaName is the last word of a media type that a reader knows: "index",
// "manifest"; docker's manifest list is an index.
func mediaName(mediaType string) string {
	name, _, _ := strings.Cut(clean(mediaType), "+")
	for _, known := range []Blob{Index, Manifest} {
		if strings.Contains(name, "."+string(known)+".v") {
			return string(known)
		}
	}
	if strings.Contains(name, ".manifest.list.v") {
		return string(Index)
	}
	return name[strings.LastIndex(name, "/")+1:]
}

// list puts the words that are not empty into brackets.
func list(words ...string) string {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	if len(words) == 0 {
		return ""
	}
	return " (" + clean(strings.Join(words, ", ")) + ")"
}
