// Package progress carries what happens during a pull from where it happens to
// where it is shown: one Event type, one Sink, one pure fold over the events
// (State), and the JSON stream of them (Encoder, ReadEvents).
//
// The packages of the pull path emit events and know nothing of displays;
// displays know nothing of pulls. The package shows nothing itself: that is for
// its alcoves, which import it: progress/display draws on terminals and writes
// logs, progress/timeline draws the picture of a pull. Start reading at Event,
// then State.
package progress

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Kind is what an Event reports. The values are the names in the JSON stream
// and therefore API.
type Kind string

const (
	// Start opens a call: Refs holds the canonical names in order, Engine the
	// engine that will run.
	Start Kind = "start"
	// Resolved reports the target of Ref: Digest, MediaType, Host, Bytes.Total
	// (its size) and Duration.
	Resolved Kind = "resolve"
	// Planned announces a blob that Ref needs, before any work on it, so that
	// totals are right from the start: Blob, Digest, Bytes (of which Done are held
	// from an earlier pull) and ChainID if it is going to be unpacked.
	Planned Kind = "plan"
	// HostFailed reports a host that was asked and given up: Host, Err.
	HostFailed Kind = "host"
	// FetchStart precedes the first byte of a blob: Blob, Digest, Host, Bytes (of
	// which Done are held from an earlier pull).
	FetchStart Kind = "fetch.start"
	// FetchProgress reports how many Bytes of the blob Digest are held.
	FetchProgress Kind = "fetch.progress"
	// FetchDone reports that all of a blob is here and right: Digest, Bytes,
	// Duration.
	FetchDone Kind = "fetch.done"
	// Present reports that nothing has to be done for the blob Digest.
	Present Kind = "present"
	// Retry precedes a wait before another attempt: Host, Attempt (from 1),
	// Wait, Reason, Err.
	Retry Kind = "retry"
	// Stalled reports that Host, which was asked for the blob Digest or for the image
	// Ref, has sent nothing for Wait. What comes after it says how that ended.
	Stalled Kind = "stall"
	// UnpackStart, UnpackProgress and UnpackDone report the unpack of layer
	// Digest into the snapshot ChainID. Bytes are uncompressed ones; Consumed is how
	// many of the layer's own they were made of, 0 while unknown.
	UnpackStart    Kind = "unpack.start"
	UnpackProgress Kind = "unpack.progress"
	UnpackDone     Kind = "unpack.done"
	// Verify begins the check of the image Ref, whose target is Digest; Verified
	// ends it: Bytes.Done were hashed, and Findings things are wrong.
	Verify   Kind = "verify"
	Verified Kind = "verified"
	// VerifyProgress reports how many Bytes of the stored blob Digest have been
	// hashed, VerifyDone that it has been judged: Bytes, Duration, and Message if
	// it is not whole.
	VerifyProgress Kind = "verify.progress"
	VerifyDone     Kind = "verify.done"
	// PhaseDone reports how long the blob Digest (or the image Ref, when Digest is
	// empty) spent in one phase of the pipeline: Phase, Duration, Bytes.Done (that
	// passed through it).
	PhaseDone Kind = "phase"
	// Registered reports that the image record Ref points to Digest. Changed is
	// false when it did so before and lacked none of the labels that were asked
	// for, else NewLabels has their keys; Previous is the target of the record
	// before, empty if there was none. Traffic is where its bytes came from, Duration how
	// long it took and Engine what did it.
	Registered Kind = "register"
	// Ended reports that nothing of the image Ref is being fetched any more, as seen
	// from outside of its pull: Message, which is empty where there is nothing to say.
	// It is an event of displays, no stream has it.
	Ended Kind = "end"
	// Warning reports Message, Error reports the failure Err of Ref.
	Warning Kind = "warning"
	Error   Kind = "error"
	// Summary closes a call: Counts, Duration.
	Summary Kind = "summary"
)

// Blob is the part of an image that a descriptor names.
type Blob string

const (
	Index    Blob = "index"
	Manifest Blob = "manifest"
	Config   Blob = "config"
	Layer    Blob = "layer"
)

// Phase is a part of the pipeline whose time is worth knowing.
type Phase string

const (
	Resolve Phase = "resolve"
	Wait    Phase = "wait"
	Fetch   Phase = "fetch"
	Inflate Phase = "inflate"
	Apply   Phase = "apply"
	Commit  Phase = "commit"
)

// Bytes is how far the work on a blob has come. Whether the bytes are those of
// the blob or uncompressed ones depends on the kind of the event.
type Bytes struct {
	Done  int64
	Total int64 // 0 while unknown
}

// Traffic is where the bytes of an image came from.
type Traffic struct {
	Fetched int64 // over the network
	Reused  int64 // bytes of wanted blobs that did not have to be
}

// Counts sums up the images of a call.
type Counts struct {
	Images int
	Failed int
}

// Event is one thing that happened. Which fields are set depends on Kind; see
// the constants. Ref is the canonical name of the image it belongs to.
type Event struct {
	Time      time.Time
	Kind      Kind
	Ref       string
	Refs      []string
	Digest    digest.Digest
	MediaType string
	Blob      Blob
	Phase     Phase
	ChainID   digest.Digest
	Previous  digest.Digest
	Host      string
	Engine    string
	Bytes     Bytes
	Consumed  int64
	Traffic   Traffic
	Counts    Counts
	Findings  int
	Attempt   int
	Wait      time.Duration
	Duration  time.Duration
	Reason    string
	Message   string
	Changed   bool
	NewLabels []string
	Err       error
}

// Sink takes events. It never blocks, may be called from many goroutines at
// once, and may be nil.
type Sink func(Event)

// Emit stamps e with the current time, unless it has one, and hands it to the
// sink. A nil sink discards it.
func (s Sink) Emit(e Event) {
	if s == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s(e)
}

// Tee is a sink that hands each event to all of sinks, in their order.
func Tee(sinks ...Sink) Sink {
	return func(e Event) {
		for _, s := range sinks {
			s.Emit(e)
		}
	}
}
