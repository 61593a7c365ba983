package progress_test

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

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
