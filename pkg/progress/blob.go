package progress

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// BlobState is the state of one blob of one image.
type BlobState struct {
	Digest                 digest.Digest
	Kind                   Blob
	Host                   string
	Size                   int64
	Resumed                int64 // bytes held before the fetch began
	Fetched                int64 // bytes held now
	Unpacked, UnpackedSize int64 // uncompressed; UnpackedSize is 0 while unknown
	Consumed               int64 // of Size, by the unpack
	Hashed                 int64 // bytes read by a check
	Trouble                Trouble
	Present                bool // nothing had to be fetched

	moved                               int64 // bytes that came over the network
	willUnpack                          bool
	fetch, unpack, hash                 step
	fetched, unpacked, consumed, hashed meter
}

// step is how far one half of the work on a blob has come.
type step int

const (
	idle step = iota
	running
	finished
)

// Trouble is why a blob or the target of an image does not come right now. The zero
// value is none.
type Trouble struct {
	Attempt int       // of the retry that is being waited for, else 0
	Reason  string    // of the retry, in few words
	Until   time.Time // when the retry begins
	Silent  time.Time // since when the host has sent nothing, else zero
}

// apply folds an event about what does not come.
func (t *Trouble) apply(e Event) {
	switch e.Kind {
	case Retry:
		*t = Trouble{Attempt: max(e.Attempt, 1), Reason: cmp.Or(e.Reason, e.Cause()), Until: e.Time.Add(e.Wait)}
	case Stalled:
		*t = Trouble{Silent: e.Time.Add(-e.Wait)}
	}
}

// Text is the trouble in words, empty for none: "stalled 12 s", or "retrying
// (refused)".
func (t Trouble) Text(now time.Time) string {
	switch {
	case t.Attempt > 0:
		return fmt.Sprintf("%s (%s)", Retrying, t.Reason)
	case !t.Silent.IsZero():
		return fmt.Sprintf("%s %d s", Silent, int(now.Sub(t.Silent).Seconds()))
	}
	return ""
}

// Left is how long the next try is away, 0 if it has begun or there is none.
func (t Trouble) Left(now time.Time) time.Duration { return max(t.Until.Sub(now), 0) }

// Status is what a blob is doing.
type Status string

const (
	Waiting   Status = "waiting"
	Fetching  Status = "fetching"
	Queued    Status = "queued" // fetched, and not yet being unpacked
	Unpacking Status = "unpacking"
	Verifying Status = "verifying"
	Retrying  Status = "retrying"
	Silent    Status = "stalled"
	Done      Status = "done"
	Held      Status = "present"
)

// Status returns what the blob is doing. A layer that is fetched and unpacked at
// the same time is fetching until its last byte has come.
func (b *BlobState) Status() Status {
	switch {
	case b.Trouble.Attempt > 0:
		return Retrying
	case !b.Trouble.Silent.IsZero() && (b.fetch == running || b.isAsked()):
		return Silent
	case b.fetch == running && !b.hasCome():
		return Fetching
	case b.isAsked():
		return Waiting
	case b.unpack == running:
		return Unpacking
	case b.hash == running:
		return Verifying
	case b.unpack == finished:
		return Done
	case b.Present:
		return Held
	case b.hasCome() && b.willUnpack:
		return Queued
	case b.fetch == running: // it is being verified and committed
		return Fetching
	case b.fetch == finished:
		return Done
	case b.isChecked():
		return Done
	}
	return Waiting
}

// hasCome reports whether the last byte was fetched.
func (b *BlobState) hasCome() bool {
	return b.fetch == finished || b.fetch == running && b.Size > 0 && b.Fetched >= b.Size
}

// isChecked reports whether a check has looked at the blob, and no pull has.
func (b *BlobState) isChecked() bool { return b.hash == finished && b.fetch == idle && !b.willUnpack }

// isAsked reports whether an unpack has begun that waits for the first byte of its
// layer: a host was asked and has not answered.
func (b *BlobState) isAsked() bool {
	return b.unpack == running && b.fetch == idle && !b.Present && b.Unpacked == 0
}

// IsActive reports whether the blob is being worked on right now.
func (b *BlobState) IsActive() bool {
	return b.isAsked() || slices.Contains([]Status{Fetching, Unpacking, Verifying, Retrying, Silent}, b.Status())
}

// IsFetching reports whether a fetch has begun and not ended. A layer may be
// fetched and unpacked at the same time, of which Status names one.
func (b *BlobState) IsFetching() bool { return b.fetch == running }

// IsUnpacking reports whether an unpack has begun and not ended.
func (b *BlobState) IsUnpacking() bool { return b.unpack == running }

// IsVerifying reports whether a check reads the blob.
func (b *BlobState) IsVerifying() bool { return b.hash == running }

// Amount returns how much is done of what the blob is doing now, and the speed
// over the last seconds. For an idle blob it is the size, without a total.
func (b *BlobState) Amount(now time.Time) (amount Bytes, perSecond float64) {
	switch b.Status() {
	case Unpacking:
		switch {
		case b.Consumed > 0:
			return Bytes{b.Consumed, b.Size}, b.consumed.rate(now)
		case b.Unpacked > 0:
			return Bytes{b.Unpacked, b.UnpackedSize}, b.unpacked.rate(now)
		}
	case Verifying:
		return Bytes{b.Hashed, b.Size}, b.hashed.rate(now)
	case Fetching:
		return Bytes{b.Fetched, b.Size}, b.fetched.rate(now)
	case Retrying, Silent:
		return Bytes{b.Fetched, b.Size}, 0
	}
	return Bytes{Done: b.Size}, 0
}

// Part is how much of the work on the blob is done, from 0 to 1: the first half is
// the fetch of a layer, the second its unpack. It is negative while it is not known.
func (b *BlobState) Part() float64 {
	if b.hash == running {
		return part(b.Hashed, b.Size)
	}
	fetched := part(b.Fetched, b.Size)
	if fetched < 0 || !b.willUnpack {
		return fetched
	}
	return (fetched + part(b.Consumed, b.Size)) / 2
}

func part(done, total int64) float64 {
	if total <= 0 {
		return -1
	}
	return float64(min(done, total)) / float64(total)
}

// reused returns how many bytes of the blob did not have to be fetched.
func (b *BlobState) reused() int64 {
	if b.Present {
		return b.Size
	}
	return b.Resumed
}

// isOver reports whether nothing remains to be done for the blob.
func (b *BlobState) isOver() bool {
	return slices.Contains([]Status{Done, Held}, b.Status())
}

// apply folds an event about this blob.
func (b *BlobState) apply(e Event) {
	b.describe(e)
	switch e.Kind {
	case Planned:
		b.Size, b.Fetched = e.Bytes.Total, e.Bytes.Done
		b.willUnpack = e.ChainID != ""
	case FetchStart:
		b.fetch, b.Trouble = running, Trouble{}
		b.Size, b.Resumed, b.Fetched = e.Bytes.Total, e.Bytes.Done, e.Bytes.Done
		b.fetched.add(e.Time, 0)
	case FetchProgress:
		b.fetch, b.Trouble = running, Trouble{}
		b.Fetched = e.Bytes.Done
	case FetchDone:
		b.fetch, b.Trouble = finished, Trouble{}
		b.Size, b.Fetched = e.Bytes.Total, e.Bytes.Total
	case Present:
		b.Present = true
		b.Size = max(b.Size, e.Bytes.Total)
		b.Fetched = b.Size
	case UnpackStart, UnpackProgress, UnpackDone:
		b.applyUnpack(e)
	case VerifyProgress:
		b.hash, b.Size, b.Hashed = running, e.Bytes.Total, e.Bytes.Done
	case VerifyDone:
		b.hash, b.Size, b.Hashed = finished, e.Bytes.Total, e.Bytes.Total
	}
}

// describe takes over what an event holds about the blob itself.
func (b *BlobState) describe(e Event) {
	if e.Blob != "" {
		b.Kind = e.Blob
	}
	if e.Host != "" {
		b.Host = e.Host
	}
}

func (b *BlobState) applyUnpack(e Event) {
	b.Kind, b.willUnpack = Layer, true
	moved := max(e.Bytes.Done-b.Unpacked, 0)
	switch e.Kind {
	case UnpackStart:
		b.unpack, b.Unpacked, b.Consumed, moved = running, 0, 0, 0
	case UnpackProgress:
		b.Unpacked, b.Consumed = e.Bytes.Done, e.Consumed
	case UnpackDone:
		b.unpack = finished
		b.Unpacked, b.Consumed = max(b.Unpacked, e.Bytes.Done), b.Size
	}
	b.UnpackedSize = max(b.UnpackedSize, e.Bytes.Total)
	b.unpacked.add(e.Time, moved)
}
