package display_test

import (
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
)

// A display turns events into lines, here for a log.
func ExampleNew() {
	d, err := display.New(display.Options{Mode: display.ModePlain, Out: os.Stdout})
	if err != nil {
		fmt.Println(err)
		return
	}
	sink := d.Sink()
	const ref = "docker.io/library/debian:12"
	sink.Emit(progress.Event{Kind: progress.Start, Refs: []string{ref}})
	sink.Emit(progress.Event{Kind: progress.Warning, Ref: ref, Message: "the mirror is slow"})
	sink.Emit(progress.Event{
		Kind: progress.Registered, Ref: ref, Digest: digest.FromString("target"), Changed: true,
		Traffic: progress.Traffic{Fetched: 48_500_000}, Duration: 6 * time.Second, Engine: "client",
	})
	fmt.Println(d.Close())
	// Output:
	// warning: the mirror is slow
	// docker.io/library/debian:12: new, 48.5 MB fetched, 0 B reused, 6.0s, 8.1 MB/s, engine client
	// <nil>
}
