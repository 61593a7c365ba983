package progress_test

import (
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// A display turns events into lines, here for a log.
func ExampleNew() {
	display, err := progress.New(progress.Options{Mode: progress.ModePlain, Out: os.Stdout})
	if err != nil {
		fmt.Println(err)
		return
	}
	sink := display.Sink()
	const ref = "docker.io/library/debian:12"
	sink.Emit(progress.Event{Kind: progress.Start, Refs: []string{ref}})
	sink.Emit(progress.Event{Kind: progress.Warning, Ref: ref, Message: "the mirror is slow"})
	sink.Emit(progress.Event{
		Kind: progress.Registered, Ref: ref, Digest: digest.FromString("target"), Changed: true,
		Traffic: progress.Traffic{Fetched: 48_500_000}, Duration: 6 * time.Second, Engine: "client",
	})
	fmt.Println(display.Close())
	// Output:
	// warning: the mirror is slow
	// docker.io/library/debian:12: new, 48.5 MB fetched, 0 B reused, 6.0s, 8.1 MB/s, engine client
	// <nil>
}

// State is the fold over events that every display shows.
func ExampleState() {
	var s progress.State
	layer := digest.FromString("layer")
	s.Apply(progress.Event{Kind: progress.Start, Refs: []string{"docker.io/library/debian:12"}})
	s.Apply(progress.Event{Kind: progress.Planned, Ref: "docker.io/library/debian:12", Blob: progress.Layer, Digest: layer, Bytes: progress.Bytes{Total: 100}})
	s.Apply(progress.Event{Kind: progress.FetchProgress, Ref: "docker.io/library/debian:12", Blob: progress.Layer, Digest: layer, Bytes: progress.Bytes{Done: 40, Total: 100}})
	t := s.Totals()
	fmt.Printf("%d of %d bytes, %d of %d layers\n", t.Fetched, t.Size, t.LayersDone, t.Layers)
	// Output: 40 of 100 bytes, 0 of 1 layers
}
