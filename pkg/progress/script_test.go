package progress_test

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

const (
	debian = "docker.io/library/debian:latest"
	hub    = "registry-1.docker.io"
	mb     = 1_000_000

	index = digest.Digest("sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510")
	layer = digest.Digest("sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3")
	chain = digest.Digest("sha256:321c43651a571d3dddf63d959f7b9695ea0f189527580a6f9a3d60fd153962f0")
)

// nth returns a digest that can be told apart by its first digits.
func nth(i int) digest.Digest {
	return digest.Digest(fmt.Sprintf("sha256:%04d%060d", i, 0))
}

// reset is the error of a connection that a registry dropped.
func reset() error { return fmt.Errorf("read tcp: %w", syscall.ECONNRESET) }

// env looks names up in a map.
func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// display starts a display that is closed with the test.
func display(t *testing.T, o progress.Options) *progress.Display {
	t.Helper()
	d, err := progress.New(o)
	if err != nil {
		t.Fatalf("starting a display: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// finish closes d, which must succeed.
func finish(t *testing.T, d *progress.Display) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatalf("closing the display: %v", err)
	}
}

// emitAll hands events to a sink.
func emitAll(s progress.Sink, events ...progress.Event) {
	for _, e := range events {
		s.Emit(e)
	}
}

// of completes events about one blob of debian.
func of(dgst digest.Digest, events ...progress.Event) []progress.Event {
	for i := range events {
		events[i].Ref, events[i].Digest = debian, dgst
	}
	return events
}

// planned announces n layers of debian, of 10 MB each.
func planned(n int) []progress.Event {
	var events []progress.Event
	for i := range n {
		events = append(events, of(nth(i), progress.Event{
			Kind: progress.Planned, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * mb}, ChainID: chain,
		})...)
	}
	return events
}

// opening resolves debian.
func opening() []progress.Event {
	return []progress.Event{
		{Kind: progress.Start, Refs: []string{debian}, Engine: "client"},
		{Kind: progress.Resolved, Ref: debian, Digest: index, Host: hub, MediaType: "application/vnd.oci.image.index.v1+json"},
	}
}

// sample is the pull that the contract of the command line shows, event by
// event.
func sample() []progress.Event {
	at := func(ms int) time.Time {
		return time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
	}
	const size = 48484352
	events := opening()
	events[0].Time, events[1].Time = at(0), at(412)
	events = append(events, of(layer,
		progress.Event{Time: at(890), Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: size}, Host: hub},
		progress.Event{Time: at(1900), Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 20971520, Total: size}},
		progress.Event{Time: at(2100), Kind: progress.Retry, Host: hub, Attempt: 1, Wait: 250 * time.Millisecond,
			Reason: "reset", Err: syscall.ECONNRESET},
		progress.Event{Time: at(5300), Kind: progress.FetchDone, Bytes: progress.Bytes{Total: size}, Duration: 4410 * time.Millisecond},
		progress.Event{Time: at(5400), Kind: progress.UnpackProgress, Bytes: progress.Bytes{Done: 131072000, Total: 139438080}},
		progress.Event{Time: at(6050), Kind: progress.UnpackDone, ChainID: chain},
	)...)
	return append(events,
		progress.Event{Time: at(6120), Kind: progress.Registered, Ref: debian, Digest: index, Changed: true,
			Traffic: progress.Traffic{Fetched: 48487936}},
		progress.Event{Time: at(6134), Kind: progress.Summary, Counts: progress.Counts{Images: 1}, Duration: 6134 * time.Millisecond},
	)
}

// errBroken is what a broken output reports.
var errBroken = errors.New("broken output")

type brokenOutput struct{ writes int }

func (b *brokenOutput) Write([]byte) (int, error) {
	b.writes++
	return 0, errBroken
}

// blockedOutput takes nothing until it is released.
type blockedOutput struct {
	release chan struct{}
	io.Writer
}

func (b *blockedOutput) Write(p []byte) (int, error) {
	<-b.release
	return b.Writer.Write(p)
}
