package progress

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// record is one line of the JSON stream; docs/progress.md describes it. Pointers
// are for fields whose zero means something, so that it is written.
type record struct {
	Version   int           `json:"v"`
	Time      string        `json:"time"`
	Event     Kind          `json:"event"`
	Ref       string        `json:"ref,omitempty"`
	Refs      []string      `json:"refs,omitempty"`
	Engine    string        `json:"engine,omitempty"`
	Digest    digest.Digest `json:"digest,omitempty"`
	Kind      Blob          `json:"kind,omitempty"`
	MediaType string        `json:"mediaType,omitempty"`
	Size      *int64        `json:"size,omitempty"`
	Offset    *int64        `json:"offset,omitempty"`
	Host      string        `json:"host,omitempty"`
	Mirror    *bool         `json:"mirror,omitempty"`
	Phase     Phase         `json:"phase,omitempty"`
	Bytes     *int64        `json:"bytes,omitempty"`
	Attempt   int           `json:"attempt,omitempty"`
	WaitMs    *int64        `json:"waitMs,omitempty"`
	Reason    string        `json:"reason,omitempty"`
	Message   string        `json:"message,omitempty"`
	ChainID   digest.Digest `json:"chainID,omitempty"`
	Changed   *bool         `json:"changed,omitempty"`
	Previous  digest.Digest `json:"previousDigest,omitempty"`
	NewLabels []string      `json:"newLabels,omitempty"`
	Images    *int          `json:"images,omitempty"`
	Failed    *int          `json:"failed,omitempty"`
	Fetched   *int64        `json:"bytesFetched,omitempty"`
	Reused    *int64        `json:"bytesReused,omitempty"`
	Consumed  int64         `json:"bytesConsumed,omitempty"`
	Retries   *int          `json:"retries,omitempty"`
	Findings  *int          `json:"findings,omitempty"`
	Duration  *int64        `json:"durationMs,omitempty"`
	Status    string        `json:"status,omitempty"`
	ID        string        `json:"id,omitempty"`
	Detail    *detail       `json:"progressDetail,omitempty"`
	Error     *Failure      `json:"error,omitempty"`
	Docker    *dockerError  `json:"errorDetail,omitempty"`
}

// detail is Docker's progressDetail.
type detail struct {
	Current    int64 `json:"current,omitempty"`
	Total      int64 `json:"total,omitempty"`
	HideCounts bool  `json:"hidecounts,omitempty"`
}

// dockerError is Docker's errorDetail.
type dockerError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Kinds that exist in the JSON stream only.
const (
	digestLine Kind = "digest" // Docker's "Digest:" line, before register
	logLine    Kind = "log"    // a log line
)

// Failure describes an error in the JSON stream. The names are API.
type Failure struct {
	Code    int    `json:"code"`
	Class   string `json:"class"`
	Reason  string `json:"reason,omitempty"`
	Host    string `json:"host"`
	Digest  string `json:"digest"`
	Message string `json:"message"`
}

// Encoder writes events as the JSON stream that docs/progress.md describes, one
// object per line.
type Encoder struct {
	Out *bytes.Buffer
	// Classify describes an error; nil describes it by its message alone.
	Classify func(error) Failure
}

// Log writes a log line as an event of its own.
func (enc *Encoder) Log(text string) {
	r := newRecord(Event{Time: time.Now(), Kind: logLine})
	r.Message = text
	enc.write(r)
}

// Event writes e. It must have been applied to s.
func (enc *Encoder) Event(s *State, e Event) {
	r := newRecord(e)
	switch e.Kind {
	case Registered:
		enc.register(r, e)
		return
	case Error:
		enc.fail(&r, e)
	case Summary:
		r.summarize(s, e)
	case Planned, FetchStart, FetchProgress, FetchDone, Present:
		r.fetch(s.Blob(e), e)
	case UnpackStart, UnpackProgress, UnpackDone:
		r.unpack(s.Blob(e), e)
	case VerifyProgress, VerifyDone:
		r.verify(s.Blob(e), e)
	default:
		r.call(e)
	}
	enc.write(r)
}

// write encodes r. A record holds nothing that cannot be encoded and a buffer
// takes everything, so that there is no error to report.
func (enc *Encoder) write(r record) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(r)
	enc.Out.WriteString(printable.JSON(line.String()))
}

func newRecord(e Event) record {
	return record{
		Version: 1,
		Time:    e.Time.UTC().Format("2006-01-02T15:04:05.000Z"),
		Event:   e.Kind,
		Ref:     e.Ref,
		Digest:  e.Digest,
	}
}

// register writes Docker's two closing lines.
func (enc *Encoder) register(r record, e Event) {
	r.Event, r.Status = digestLine, "Digest: "+e.Digest.String()
	enc.write(r)
	r.Event, r.Changed, r.Previous, r.NewLabels = e.Kind, &e.Changed, e.Previous, e.NewLabels
	r.Status = "Status: Image is up to date for " + familiar(e.Ref)
	if e.Changed && e.Previous != e.Digest {
		r.Status = "Status: Downloaded newer image for " + familiar(e.Ref)
	}
	r.Engine, r.Duration = e.Engine, known(e.Duration)
	if r.Duration != nil {
		r.Fetched, r.Reused = &e.Traffic.Fetched, &e.Traffic.Reused
	}
	enc.write(r)
}

func (enc *Encoder) fail(r *record, e Event) {
	failure := Failure{Code: 1, Class: "internal", Message: e.Message}
	if e.Err != nil {
		failure = enc.describe(e.Err)
	}
	failure.Message = clean(failure.Message)
	r.Message = failure.Message
	r.Error = &failure
	r.Docker = &dockerError{failure.Code, failure.Message}
}

func (enc *Encoder) describe(err error) Failure {
	if enc.Classify == nil {
		return Failure{Code: 1, Class: "internal", Message: err.Error()}
	}
	return enc.Classify(err)
}

func (r *record) summarize(s *State, e Event) {
	t := s.Totals()
	r.Images, r.Failed, r.Duration = &e.Counts.Images, &e.Counts.Failed, millis(e.Duration)
	r.Fetched, r.Reused, r.Retries = &t.BytesFetched, &t.BytesReused, &s.Retries
}

// call fills in an event about an image or the whole call.
func (r *record) call(e Event) {
	switch e.Kind {
	case Start:
		r.Refs, r.Engine = e.Refs, e.Engine
	case Resolved:
		r.MediaType, r.Host, r.Duration = e.MediaType, e.Host, known(e.Duration)
		r.Status, r.ID = pullingFrom(e.Ref)
	case HostFailed:
		r.Host, r.Mirror, r.Message = e.Host, new(isMirror(e)), e.Cause()
	case Retry:
		r.Host, r.Attempt, r.WaitMs, r.ChainID = e.Host, e.Attempt, millis(e.Wait), e.ChainID
		r.Reason, r.Message = e.Reason, e.Cause()
	case Stalled:
		r.Host, r.WaitMs = e.Host, millis(e.Wait)
	case PhaseDone:
		r.Phase, r.Duration, r.Bytes, r.ChainID = e.Phase, millis(e.Duration), &e.Bytes.Done, e.ChainID
	case Verified:
		r.Bytes, r.Findings, r.Duration = &e.Bytes.Done, &e.Findings, millis(e.Duration)
	case Warning:
		r.Message = e.Cause()
	}
}

// fetch fills in an event about the bytes of a blob.
func (r *record) fetch(b *BlobState, e Event) {
	switch e.Kind {
	case Planned:
		r.Kind, r.Size, r.Offset, r.ChainID = b.Kind, &e.Bytes.Total, &e.Bytes.Done, e.ChainID
		r.docker(b, "Waiting", &detail{})
	case FetchStart:
		r.Kind, r.Size, r.Offset, r.Host = b.Kind, &e.Bytes.Total, &e.Bytes.Done, e.Host
		r.docker(b, "Pulling fs layer", &detail{})
	case FetchProgress:
		r.Host = e.Host
		r.docker(b, "Downloading", nil)
		r.Detail = &detail{Current: e.Bytes.Done, Total: b.Size}
	case FetchDone:
		r.Kind, r.Host, r.Size, r.Duration = e.Blob, e.Host, &e.Bytes.Total, millis(e.Duration)
		r.docker(b, "Download complete", &detail{HideCounts: true})
	case Present:
		r.Kind, r.ChainID = b.Kind, e.ChainID
		if b.Size > 0 {
			r.Size = new(b.Size)
		}
		r.docker(b, "Already exists", &detail{HideCounts: true})
	}
}

// unpack fills in an event about the unpack of a layer.
func (r *record) unpack(b *BlobState, e Event) {
	r.ChainID = e.ChainID
	switch e.Kind {
	case UnpackProgress:
		r.Consumed = e.Consumed
		r.docker(b, "Extracting", &detail{Current: e.Bytes.Done, Total: b.UnpackedSize})
	case UnpackDone:
		r.Duration = known(e.Duration)
		if e.Bytes.Done > 0 {
			r.Bytes = &e.Bytes.Done
		}
		r.docker(b, "Pull complete", &detail{HideCounts: true})
	}
}

// verify fills in an event about the check of a blob.
func (r *record) verify(b *BlobState, e Event) {
	r.Kind, r.Size = b.Kind, &e.Bytes.Total
	r.docker(b, "Verifying Checksum", &detail{Current: e.Bytes.Done, Total: e.Bytes.Total})
	if e.Kind == VerifyDone {
		r.Duration, r.Message = millis(e.Duration), clean(e.Message)
		r.docker(b, "Verified", &detail{HideCounts: true})
	}
}

// docker fills in Docker's fields, which only layers have.
func (r *record) docker(b *BlobState, status string, d *detail) {
	if b.Kind == Layer {
		r.Status, r.ID, r.Detail = status, ShortDigest(b.Digest), d
	}
}

func millis(d time.Duration) *int64 { return new(d.Milliseconds()) }

// known returns nil for a duration that was not measured.
func known(d time.Duration) *int64 {
	if d <= 0 {
		return nil
	}
	return millis(d)
}

// familiar is the name as Docker shows it: "debian:latest".
func familiar(name string) string {
	ref, err := reference.ParseNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}

// pullingFrom returns Docker's first line about a reference, and the ID of that
// line: the tag, or the whole reference if that has a digest.
func pullingFrom(name string) (status, id string) {
	ref, err := reference.ParseNamed(name)
	if err != nil {
		return "Pulling from " + name, ""
	}
	id = ref.String()
	if tagged, ok := ref.(reference.Tagged); ok {
		id = tagged.Tag()
	}
	return "Pulling from " + reference.Path(ref), id
}

// isMirror reports whether the host of e is another one than the reference's own.
func isMirror(e Event) bool {
	domain, _, _ := strings.Cut(e.Ref, "/")
	return e.Host != source.ContactedHost(source.CanonicalHost(domain))
}
