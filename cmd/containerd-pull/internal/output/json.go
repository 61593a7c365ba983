package output

import (
	"github.com/containerd/platforms"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// shownPull is the result of a pull in JSON. The names are API: fields are
// added and never taken away. docs/output.md describes them.
type shownPull struct {
	SchemaVersion  int               `json:"schemaVersion"`
	Ref            string            `json:"ref"`
	Name           string            `json:"name"`
	Names          []string          `json:"names"`
	Digest         string            `json:"digest"`
	Target         shownTarget       `json:"target"`
	Platforms      []shownPlatform   `json:"platforms"`
	Changed        bool              `json:"changed"`
	PreviousDigest string            `json:"previousDigest"`
	Namespace      string            `json:"namespace"`
	Snapshotter    string            `json:"snapshotter"`
	Profile        string            `json:"profile"`
	Engine         string            `json:"engine"`
	EngineReason   string            `json:"engineReason"`
	SourceHost     string            `json:"sourceHost"`
	BytesFetched   int64             `json:"bytesFetched"`
	BytesReused    int64             `json:"bytesReused"`
	BytesUnpacked  int64             `json:"bytesUnpacked"`
	Retries        int               `json:"retries"`
	DurationMs     int64             `json:"durationMs"`
	NewLabels      []string          `json:"newLabels"`
	Labels         map[string]string `json:"labels"`
	Warnings       []string          `json:"warnings"`
	Error          *shownError       `json:"error"`
}

// shownFailure has the fields of shownPull that are known if a pull failed.
type shownFailure struct {
	SchemaVersion int          `json:"schemaVersion"`
	Ref           string       `json:"ref"`
	Name          string       `json:"name"`
	Digest        string       `json:"digest"`
	Target        *shownTarget `json:"target,omitempty"`
	Changed       bool         `json:"changed"`
	Namespace     string       `json:"namespace,omitempty"`
	Snapshotter   string       `json:"snapshotter,omitempty"`
	Profile       string       `json:"profile"`
	SourceHost    string       `json:"sourceHost,omitempty"`
	Retries       int          `json:"retries"`
	Warnings      []string     `json:"warnings"`
	Error         shownError   `json:"error"`
}

type shownTarget struct {
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
}

type shownPlatform struct {
	Platform string `json:"platform"`
	Manifest string `json:"manifest"`
	Config   string `json:"config"`
	ChainID  string `json:"chainID"`
	Unpacked bool   `json:"unpacked"`
}

// shownError is a display.Failure whose empty fields are shown, too.
type shownError struct {
	Code    int    `json:"code"`
	Class   string `json:"class"`
	Reason  string `json:"reason"`
	Host    string `json:"host"`
	Digest  string `json:"digest"`
	Message string `json:"message"`
}

// show returns an outcome for JSON.
func show(o batch.Outcome, describe func(error) progress.Failure) any {
	if o.Err != nil {
		return showFailure(o, describe(o.Err))
	}
	r := o.Result
	shown := shownPull{
		SchemaVersion: 1, Ref: o.Typed, Name: r.Name, Names: []string{r.Name},
		Digest: r.Target.Digest.String(), Target: shownTarget{r.Target.MediaType, r.Target.Size},
		Platforms: []shownPlatform{}, Changed: r.Changed, PreviousDigest: r.Previous.String(),
		Namespace: o.Namespace, Snapshotter: o.Snapshotter, Profile: o.Config.Profile,
		Engine: string(r.Engine), EngineReason: r.EngineReason, SourceHost: r.Host,
		BytesFetched: r.Fetched, BytesReused: r.Reused, BytesUnpacked: r.Unpacked,
		Retries: o.Observed.Retries, DurationMs: r.Duration.Milliseconds(),
		NewLabels: append([]string{}, r.NewLabels...), Labels: r.Labels, Warnings: warnings(o),
	}
	if shown.Labels == nil {
		shown.Labels = map[string]string{}
	}
	for _, p := range r.Platforms {
		shown.Platforms = append(shown.Platforms, showPlatform(p))
	}
	return shown
}

func showPlatform(p pull.Platform) shownPlatform {
	shown := shownPlatform{Manifest: p.Manifest.String(), Config: p.Config.String(), ChainID: p.ChainID.String(), Unpacked: p.Unpacked}
	if p.Platform.OS != "" { // an artifact has no platform
		shown.Platform = platforms.FormatAll(p.Platform)
	}
	return shown
}

func showFailure(o batch.Outcome, described progress.Failure) shownFailure {
	failure := shownError(described)
	failure.Message = printable.Line(failure.Message)
	shown := shownFailure{
		SchemaVersion: 1, Ref: o.Typed, Name: o.Ref.Name, Digest: o.Observed.Target.Digest.String(),
		Namespace: o.Namespace, Snapshotter: o.Snapshotter, Profile: o.Config.Profile,
		SourceHost: o.Observed.Host, Retries: o.Observed.Retries, Warnings: warnings(o), Error: failure,
	}
	if t := o.Observed.Target; t.Digest != "" {
		shown.Target = &shownTarget{t.MediaType, t.Size}
	}
	return shown
}

func warnings(o batch.Outcome) []string {
	shown := []string{}
	for _, text := range o.Observed.Warnings {
		shown = append(shown, printable.Line(text))
	}
	return shown
}
