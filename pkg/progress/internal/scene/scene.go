// Package scene has the events and texts that the tests of progress and its
// alcoves share: a pull of Debian's image, to be folded, shown and drawn. It is
// no part of the product.
package scene

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// What the events are about.
const (
	Debian = "docker.io/library/debian:latest"
	Hub    = "registry-1.docker.io"
	Mirror = "mirror.example.com"
	MB     = 1_000_000

	Index = digest.Digest("sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510")
	Layer = digest.Digest("sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3")
	Chain = digest.Digest("sha256:321c43651a571d3dddf63d959f7b9695ea0f189527580a6f9a3d60fd153962f0")
)

// Nth returns a digest that can be told apart by its first digits.
func Nth(i int) digest.Digest {
	return digest.Digest(fmt.Sprintf("sha256:%04d%060d", i, 0))
}

// Reset returns the error of a connection that a registry dropped.
func Reset() error { return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET} }

// Moment is a time of the pull: milliseconds after its begin.
func Moment(ms int) time.Time {
	return time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

// At gives e a time.
func At(ms int, e progress.Event) progress.Event {
	e.Time = Moment(ms)
	return e
}

// Play hands events to a sink.
func Play(s progress.Sink, events ...progress.Event) {
	for _, e := range events {
		s.Emit(e)
	}
}

// Of completes events about one blob of Debian.
func Of(dgst digest.Digest, events ...progress.Event) []progress.Event {
	for i := range events {
		events[i].Ref, events[i].Digest = Debian, dgst
	}
	return events
}

// Planned announces n layers of Debian, of 10 MB each.
func Planned(n int) []progress.Event {
	var events []progress.Event
	for i := range n {
		events = append(events, Of(Nth(i), progress.Event{
			Kind: progress.Planned, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * MB}, ChainID: Chain,
		})...)
	}
	return events
}

// Opening resolves Debian.
func Opening() []progress.Event {
	return []progress.Event{
		{Kind: progress.Start, Refs: []string{Debian}, Engine: "client"},
		{Kind: progress.Resolved, Ref: Debian, Digest: Index, Host: Hub, MediaType: "application/vnd.oci.image.index.v1+json"},
	}
}

// Pull is the pull that the contract of the command line shows, event by event.
func Pull() []progress.Event {
	const size = 48484352
	events := Opening()
	events[0].Time, events[1].Time = Moment(0), Moment(412)
	events = append(events, Of(Layer,
		At(890, progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: size}, Host: Hub}),
		At(1900, progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 20971520, Total: size}}),
		At(2100, progress.Event{Kind: progress.Retry, Host: Hub, Attempt: 1, Wait: 250 * time.Millisecond,
			Reason: "reset", Err: syscall.ECONNRESET}),
		At(5300, progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: size}, Duration: 4410 * time.Millisecond}),
		At(5400, progress.Event{Kind: progress.UnpackProgress, Bytes: progress.Bytes{Done: 131072000, Total: 139438080}}),
		At(6050, progress.Event{Kind: progress.UnpackDone, ChainID: Chain}),
	)...)
	return append(events,
		At(6120, progress.Event{Kind: progress.Registered, Ref: Debian, Digest: Index, Changed: true,
			Traffic: progress.Traffic{Fetched: 48487936}}),
		At(6134, progress.Event{Kind: progress.Summary, Counts: progress.Counts{Images: 1}, Duration: 6134 * time.Millisecond}),
	)
}

// Encode returns the JSON stream of events.
func Encode(events ...progress.Event) string {
	var out bytes.Buffer
	var state progress.State
	enc := progress.Encoder{Out: &out}
	for _, e := range events {
		state.Apply(e)
		enc.Event(&state, e)
	}
	return out.String()
}

// Texts parses a picture, which must be XML that only draws, and returns what is
// to be read in it.
func Texts(picture []byte) ([]string, error) {
	var texts []string
	d := xml.NewDecoder(bytes.NewReader(picture))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parsing the picture: %w", err)
		}
		switch token := token.(type) {
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				texts = append(texts, text)
			}
		case xml.StartElement:
			if isActive(token) {
				return nil, fmt.Errorf("an element that is not only drawn: %v", token)
			}
		}
	}
}

// isActive reports whether the element runs a script or leads out of the picture.
func isActive(e xml.StartElement) bool {
	return e.Name.Local == "script" || slices.ContainsFunc(e.Attr, func(a xml.Attr) bool {
		return strings.HasPrefix(a.Name.Local, "on") || (a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#"))
	})
}
