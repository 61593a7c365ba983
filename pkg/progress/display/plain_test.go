package display_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

func TestPlain(t *testing.T) {
	events := append(scene.Opening(), scene.Of(scene.Layer,
		progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 48484352}, Host: scene.Hub},
		progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 21 * scene.MB}},
		progress.Event{Kind: progress.Retry, Host: scene.Hub, Attempt: 1, Wait: 250 * time.Millisecond, Message: "connection reset by peer"},
		progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Done: 21 * scene.MB, Total: 48484352}, Host: "mirror.example.com"},
		progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 48484352}},
		progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain},
		progress.Event{Kind: progress.UnpackProgress, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 58 * scene.MB}},
		progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 139438080}},
	)...)
	events = append(events, scene.Of(scene.Nth(1),
		progress.Event{Kind: progress.FetchStart, Blob: progress.Config, Bytes: progress.Bytes{Total: 1000}, Host: scene.Hub},
		progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 1000}},
	)...)
	events = append(events, scene.Of(scene.Nth(2), progress.Event{Kind: progress.Present, Blob: progress.Layer, Bytes: progress.Bytes{Total: 5}})...)
	events = append(events,
		progress.Event{Kind: progress.HostFailed, Ref: scene.Debian, Host: "mirror.example.com", Err: scene.Reset()},
		progress.Event{Kind: progress.Retry, Ref: scene.Debian, Host: scene.Hub, Attempt: 2, Wait: 90 * time.Second, Reason: "rate-limit"},
		progress.Event{Kind: progress.Retry, Ref: scene.Debian, Digest: scene.Nth(3), Host: scene.Hub, Attempt: 1, Reason: "status"},
		progress.Event{Kind: progress.Warning, Ref: scene.Debian, Message: "password on the command line"},
		progress.Event{Kind: progress.Registered, Ref: scene.Debian, Digest: scene.Index, Changed: true, Traffic: progress.Traffic{Fetched: 48487936},
			Duration: 6134 * time.Millisecond, Engine: "client"},
		progress.Event{Kind: progress.Registered, Ref: "quay.io/a:v1", Digest: scene.Index, Changed: true, Previous: scene.Nth(9),
			Traffic: progress.Traffic{Fetched: 1, Reused: 999_960}, Duration: 90 * time.Millisecond, Engine: "daemon"},
		progress.Event{Kind: progress.Registered, Ref: "quay.io/a:v2", Digest: scene.Index, Traffic: progress.Traffic{Reused: 1_500_000_000_000}},
		progress.Event{Kind: progress.Error, Ref: "quay.io/a:v3", Err: scene.Reset()},
		progress.Event{Kind: progress.Summary, Counts: progress.Counts{Images: 4, Failed: 1}, Duration: 83 * time.Second},
	)
	want := `
docker.io/library/debian:latest: resolved sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510 (index, registry-1.docker.io)
64bb0415b0a1: fetching 48.5 MB from registry-1.docker.io
64bb0415b0a1: retry 1 in 250ms: connection reset by peer (registry-1.docker.io)
64bb0415b0a1: fetching 27.5 MB from mirror.example.com, 21.0 MB of 48.5 MB held
64bb0415b0a1: fetched 48.5 MB
64bb0415b0a1: unpacked 139.4 MB
000200000000: present
docker.io/library/debian:latest: host mirror.example.com: read tcp: connection reset by peer
docker.io/library/debian:latest: retry 2 in 1m30s: rate-limit (registry-1.docker.io)
docker.io/library/debian:latest: retry 1 in 0ms: status (registry-1.docker.io)
warning: password on the command line
docker.io/library/debian:latest: new, 48.5 MB fetched, 0 B reused, 6.1s, 7.9 MB/s, engine client
quay.io/a:v1: changed, 1 B fetched, 1.0 MB reused, 90ms, engine daemon
quay.io/a:v2: up to date, 0 B fetched, 1.5 TB reused, 0ms
4 images: 1 failed, 48.5 MB fetched, 1.5 TB reused, 1m23s, 584.2 kB/s
`
	if diff := cmp.Diff(want[1:], stream(t, display.Options{}, events...)); diff != "" {
		t.Errorf("got other lines (-want +got):\n%s", diff)
	}
}

func TestPlainMediaTypes(t *testing.T) {
	for mediaType, want := range map[string]string{
		"application/vnd.oci.image.index.v1+json":                   "(index)",
		"application/vnd.oci.image.manifest.v1+json":                "(manifest)",
		"application/vnd.docker.distribution.manifest.v2+json":      "(manifest)",
		"application/vnd.docker.distribution.manifest.list.v2+json": "(index)",
		"application/x-other":                                       "(x-other)",
		"":                                                          "",
	} {
		got := stream(t, display.Options{}, progress.Event{Kind: progress.Resolved, Ref: scene.Debian, Digest: scene.Index, MediaType: mediaType})
		_, got, _ = strings.Cut(strings.TrimSpace(got), string(scene.Index))
		if strings.TrimSpace(got) != want {
			t.Errorf("%q: got %q, want %q", mediaType, got, want)
		}
	}
}

// A blob that runs without a line of its own for ten seconds gets one, and
// another one ten seconds later; a blob that waits gets none.
func TestHeartbeat(t *testing.T) {
	var got string
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		d := start(t, display.Options{Out: &buf})
		scene.Play(d.Sink(), scene.Planned(3)...)
		scene.Play(d.Sink(), scene.Of(scene.Nth(0), progress.Event{Kind: progress.FetchStart, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub})...)
		time.Sleep(5 * time.Second)
		scene.Play(d.Sink(), scene.Of(scene.Nth(1), progress.Event{Kind: progress.FetchStart, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub})...)
		scene.Play(d.Sink(), scene.Of(scene.Nth(0),
			progress.Event{Kind: progress.FetchProgress, Bytes: progress.Bytes{Done: 2 * scene.MB, Total: 10 * scene.MB}},
			progress.Event{Kind: progress.UnpackStart, ChainID: scene.Chain},
			progress.Event{Kind: progress.UnpackProgress, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 4 * scene.MB}})...)
		time.Sleep(16*time.Second + 500*time.Millisecond)
		scene.Play(d.Sink(), scene.Of(scene.Nth(0),
			progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 10 * scene.MB}},
			progress.Event{Kind: progress.UnpackDone, ChainID: scene.Chain, Bytes: progress.Bytes{Done: 30 * scene.MB}})...)
		scene.Play(d.Sink(), scene.Of(scene.Nth(1), progress.Event{Kind: progress.Retry, Attempt: 1, Wait: time.Minute, Reason: "stall"})...)
		time.Sleep(11 * time.Second)
		finish(t, d)
		got = buf.String()
	})
	want := `
000000000000: fetching 10.0 MB from registry-1.docker.io
000100000000: fetching 10.0 MB from registry-1.docker.io
000000000000: fetched 2.0 MB of 10.0 MB, unpacked 4.0 MB
000100000000: fetched 0 B of 10.0 MB
000000000000: fetched 2.0 MB of 10.0 MB, unpacked 4.0 MB
000000000000: fetched 10.0 MB
000000000000: unpacked 30.0 MB
000100000000: retry 1 in 1m0s: stall
000100000000: fetched 0 B of 10.0 MB, retrying (stall)
`
	if diff := cmp.Diff(want[1:], got); diff != "" {
		t.Errorf("got other lines (-want +got):\n%s", diff)
	}
}

func TestWarningsOnly(t *testing.T) {
	events := append(scene.Pull(), progress.Event{Kind: progress.Warning, Message: "slow host"})
	for _, tt := range []struct {
		name string
		o    display.Options
		want string
	}{
		{"none", display.Options{Mode: display.ModeNone}, "warning: slow host\nlog\n"},
		{"quiet", display.Options{Quiet: true}, "log\n"},
		{"quiet and none", display.Options{Quiet: true, Mode: display.ModeNone}, "log\n"},
	} {
		var buf bytes.Buffer
		tt.o.Out = &buf
		d := start(t, tt.o)
		scene.Play(d.Sink(), events...)
		fmt.Fprintln(d.Writer(), "log")
		finish(t, d)
		if got := buf.String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
