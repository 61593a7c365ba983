package output

import (
	"fmt"
	"io"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/watch"
)

// Watch is one look of watch in JSON. The names are API; docs/output.md describes
// them.
type Watch struct {
	SchemaVersion int           `json:"schemaVersion"`
	Time          string        `json:"time"`
	Pulls         []runningPull `json:"pulls"`

	of []watch.Pull
}

type runningPull struct {
	Namespace      string        `json:"namespace"`
	Title          string        `json:"title"`
	Name           string        `json:"name"`
	Repositories   []string      `json:"repositories"`
	Digest         string        `json:"digest"`
	Lease          string        `json:"lease"`
	Own            bool          `json:"own"`
	State          string        `json:"state"`
	Listed         bool          `json:"listed"`
	BytesDone      int64         `json:"bytesDone"`
	BytesTotal     int64         `json:"bytesTotal"`
	BytesPerSecond int64         `json:"bytesPerSecond"`
	ETAMs          *int64        `json:"etaMs"`
	SilentMs       *int64        `json:"silentMs"`
	Layers         int           `json:"layers"`
	LayersDone     int           `json:"layersDone"`
	Blobs          []runningBlob `json:"blobs"`
}

type runningBlob struct {
	Digest         string `json:"digest"`
	Kind           string `json:"kind"`
	State          string `json:"state"`
	BytesDone      int64  `json:"bytesDone"`
	BytesTotal     int64  `json:"bytesTotal"`
	BytesPerSecond int64  `json:"bytesPerSecond"`
	SilentMs       *int64 `json:"silentMs"`
	Ingest         string `json:"ingest"`
	StartedAt      string `json:"startedAt"`
}

// NewWatch returns a look at the time now for showing.
func NewWatch(now time.Time, pulls []watch.Pull) Watch {
	w := Watch{SchemaVersion: 1, Time: stamp(now), Pulls: []runningPull{}, of: pulls}
	for _, p := range pulls {
		shown := runningPull{
			Namespace: printable.Line(p.Namespace), Title: printable.Line(p.Title()), Name: printable.Line(p.Name),
			Repositories: printableLines(p.Repositories), Digest: p.Target.String(), Lease: printable.Line(p.Lease), Own: p.Own,
			State: string(p.State), Listed: p.Listed, BytesDone: p.Bytes.Done, BytesTotal: p.Bytes.Total, BytesPerSecond: int64(p.Rate),
			ETAMs: inMillis(p.ETA), SilentMs: inMillis(p.Silent), Layers: p.Layers, LayersDone: p.LayersDone, Blobs: []runningBlob{},
		}
		for _, b := range p.Blobs {
			shown.Blobs = append(shown.Blobs, runningBlob{
				Digest: b.Digest.String(), Kind: string(b.Kind), State: string(b.State),
				BytesDone: b.Bytes.Done, BytesTotal: b.Bytes.Total, BytesPerSecond: int64(b.Rate), SilentMs: inMillis(b.Silent),
				Ingest: printable.Line(b.Ingest), StartedAt: stamp(b.Started),
			})
		}
		w.Pulls = append(w.Pulls, shown)
	}
	return w
}

// stamp is a time as the JSON stream has it, empty for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// inMillis returns nil for a time that cannot be told.
func inMillis(d time.Duration) *int64 {
	if d <= 0 {
		return nil
	}
	return new(d.Milliseconds())
}

// Write writes one line for each pull.
func (w Watch) Write(out io.Writer) {
	for _, p := range w.of {
		eta := "-"
		if p.ETA > 0 {
			eta = "ETA " + max(p.ETA.Round(time.Second), time.Second).String()
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable.Line(p.Namespace), printable.Line(p.Title()),
			stateText(p), p.Bytes, progress.Speed(p.Rate), eta, fmt.Sprintf("%d/%d layers", p.LayersDone, p.Layers))
	}
}

// stateText is what a pull is doing, and for how long nothing has come.
func stateText(p watch.Pull) string {
	if p.Silent > 0 {
		return fmt.Sprintf("%s %s", p.State, p.Silent.Round(time.Second))
	}
	return string(p.State)
}
