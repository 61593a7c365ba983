package progress

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// State is what is known of a call: the fold over its events. The zero value
// is the state before the first event. It reads no clock and does no I/O, so
// that the same events always give the same state.
type State struct {
	Engine  string
	Images  []*Image // in the order of the command line, then of appearance
	Retries int
	moved   meter // bytes fetched, and hashed by a check
}

// Image is the state of one reference.
type Image struct {
	Ref     string
	Digest  digest.Digest // of the target; empty until resolved
	Blobs   []*BlobState  // in order of appearance
	Outcome Outcome
	// Fetched and Reused count bytes of blobs; they are exact once the image is
	// registered and the sum over Blobs before.
	Fetched, Reused int64
	Duration        time.Duration // of the pull, once registered
	Engine          string        // that did the work, once registered
	Err             error         // why Outcome is Failed
}

// Outcome says how the pull of an image ended. It is empty as long as it runs.
type Outcome string

const (
	Created   Outcome = "new"
	Updated   Outcome = "changed"
	Unchanged Outcome = "up to date"
	Failed    Outcome = "failed"
	// Checked is the end of a check, whatever it found.
	Checked Outcome = "checked"
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
	Hashed                 int64 // bytes read by a check
	Attempt                int   // of the retry that is being waited for, else 0
	Present                bool  // nothing had to be fetched

	willUnpack                bool
	fetch, unpack, hash       step
	fetched, unpacked, hashed meter
}

// step is how far one half of the work on a blob has come.
type step int

const (
	idle step = iota
	running
	finished
)

// Status is what a blob is doing.
type Status string

const (
	Waiting   Status = "waiting"
	Fetching  Status = "fetching"
	Unpacking Status = "unpacking"
	Verifying Status = "verifying"
	Retrying  Status = "retry"
	Done      Status = "done"
	Held      Status = "present"
)

// Status returns what the blob is doing. A layer that is fetched and unpacked at
// the same time is fetching until its last byte has come.
func (b *BlobState) Status() Status {
	switch {
	case b.Attempt > 0:
		return Retrying
	case b.fetch == running:
		return Fetching
	case b.asked():
		return Waiting
	case b.unpack == running:
		return Unpacking
	case b.hash == running:
		return Verifying
	case b.unpack == finished:
		return Done
	case b.Present:
		return Held
	case b.fetch == finished && !b.willUnpack:
		return Done
	case b.checked():
		return Done
	}
	return Waiting
}

// checked reports whether a check has looked at the blob, and no pull has.
func (b *BlobState) checked() bool { return b.hash == finished && b.fetch == idle && !b.willUnpack }

// asked reports whether an unpack has begun that waits for the first byte of its
// layer: a host was asked and has not answered.
func (b *BlobState) asked() bool {
	return b.unpack == running && b.fetch == idle && !b.Present && b.Unpacked == 0
}

// IsActive reports whether the blob is being worked on right now.
func (b *BlobState) IsActive() bool {
	return b.asked() || slices.Contains([]Status{Fetching, Unpacking, Verifying, Retrying}, b.Status())
}

// IsFetching, IsUnpacking and IsVerifying report which work on the blob has
// begun and not ended. A layer may be fetched and unpacked at the same time,
// of which Status names one.
func (b *BlobState) IsFetching() bool  { return b.fetch == running }
func (b *BlobState) IsUnpacking() bool { return b.unpack == running }
func (b *BlobState) IsVerifying() bool { return b.hash == running }

// Amount returns how much is done of what the blob is doing now, and how fast
// it went lately. A blob that nothing is done with counts as its size.
func (b *BlobState) Amount(now time.Time) (amount Bytes, perSecond float64) {
	switch b.Status() {
	case Unpacking:
		return Bytes{b.Unpacked, b.UnpackedSize}, b.unpacked.rate(now)
	case Verifying:
		return Bytes{b.Hashed, b.Size}, b.hashed.rate(now)
	case Fetching:
		return Bytes{b.Fetched, b.Size}, b.fetched.rate(now)
	case Retrying:
		return Bytes{b.Fetched, b.Size}, 0
	}
	return Bytes{Done: b.Size}, 0
}

// over reports whether nothing remains to be done for the blob.
func (b *BlobState) over() bool {
	return slices.Contains([]Status{Done, Held}, b.Status())
}

// Totals sums up the work of a call.
type Totals struct {
	Fetched, Size      int64 // bytes held and wanted of the blobs that are not present, and hashed by a check
	Layers, LayersDone int
	Failed             int   // images
	BytesFetched       int64 // that came over the network
	BytesReused        int64
}

// Totals returns the sums over all images.
func (s *State) Totals() Totals {
	var t Totals
	for _, img := range s.Images {
		t.BytesFetched += img.Fetched
		t.BytesReused += img.Reused
		if img.Outcome == Failed {
			t.Failed++
		}
		for _, b := range img.Blobs {
			t.add(b)
		}
	}
	return t
}

func (t *Totals) add(b *BlobState) {
	if b.hash != idle {
		t.Fetched += b.Hashed
		t.Size += max(b.Size, b.Hashed)
	}
	if !b.Present && (b.hash == idle || b.fetch != idle) {
		t.Fetched += b.Fetched
		t.Size += max(b.Size, b.Fetched)
	}
	if b.Kind != Layer {
		return
	}
	t.Layers++
	if b.over() {
		t.LayersDone++
	}
}

// Rate returns the bytes per second that came over the network lately, or were
// hashed by a check.
func (s *State) Rate(now time.Time) float64 { return s.moved.rate(now) }

// ETA estimates when the last byte will have been fetched. It is 0 when nothing
// is missing or nothing moves.
func (s *State) ETA(now time.Time) time.Duration {
	t, rate := s.Totals(), s.Rate(now)
	if rate < 1 {
		return 0
	}
	return time.Duration(float64(t.Size-t.Fetched) / rate * float64(time.Second))
}

// Apply folds one more event into the state.
func (s *State) Apply(e Event) {
	switch e.Kind {
	case Start:
		s.Engine = e.Engine
		for _, ref := range e.Refs {
			s.Image(ref)
		}
	case Resolved, Verify:
		s.Image(e.Ref).Digest = e.Digest
	case Verified:
		s.Image(e.Ref).Outcome = Checked
	case Registered:
		s.Image(e.Ref).register(e)
	case Error:
		img := s.Image(e.Ref)
		img.Outcome, img.Err = Failed, e.Err
	case Planned, FetchStart, FetchProgress, FetchDone, Present, UnpackStart, UnpackProgress, UnpackDone,
		VerifyProgress, VerifyDone:
		s.applyBlob(e)
	case Retry:
		s.Retries++
		if b := s.Blob(e); b != nil {
			b.Attempt = max(e.Attempt, 1)
		}
	}
}

// applyBlob folds an event about one blob.
func (s *State) applyBlob(e Event) {
	img := s.Image(e.Ref)
	b := img.blob(e.Digest)
	before, hashed := b.Fetched, b.Hashed
	b.apply(e)
	if e.Kind == Present {
		img.Reused += b.Size
	}
	if e.Kind == FetchStart {
		img.Reused += b.Resumed
		s.moved.add(e.Time, 0)
	}
	if e.Kind == VerifyProgress || e.Kind == VerifyDone {
		s.moved.add(e.Time, max(b.Hashed-hashed, 0))
		b.hashed.add(e.Time, max(b.Hashed-hashed, 0))
	}
	if e.Kind == FetchProgress || e.Kind == FetchDone {
		moved := max(b.Fetched-before, 0)
		img.Fetched += moved
		s.moved.add(e.Time, moved)
		b.fetched.add(e.Time, moved)
	}
}

// Image returns the state of ref, which it adds when no event named it before.
func (s *State) Image(ref string) *Image {
	for _, img := range s.Images {
		if img.Ref == ref {
			return img
		}
	}
	s.Images = append(s.Images, &Image{Ref: ref})
	return s.Images[len(s.Images)-1]
}

// Blob returns the blob that e is about, or nil if it is not known.
func (s *State) Blob(e Event) *BlobState {
	for _, img := range s.Images {
		if img.Ref != e.Ref {
			continue
		}
		for _, b := range img.Blobs {
			if b.Digest == e.Digest {
				return b
			}
		}
	}
	return nil
}

func (img *Image) blob(dgst digest.Digest) *BlobState {
	for _, b := range img.Blobs {
		if b.Digest == dgst {
			return b
		}
	}
	img.Blobs = append(img.Blobs, &BlobState{Digest: dgst})
	return img.Blobs[len(img.Blobs)-1]
}

func (img *Image) register(e Event) {
	img.Digest, img.Duration, img.Engine = e.Digest, e.Duration, e.Engine
	img.Fetched, img.Reused = e.Traffic.Fetched, e.Traffic.Reused
	switch {
	case !e.Changed:
		img.Outcome = Unchanged
	case e.Previous == "":
		img.Outcome = Created
	default:
		img.Outcome = Updated
	}
}

// apply folds an event about this blob.
func (b *BlobState) apply(e Event) {
	b.describe(e)
	switch e.Kind {
	case Planned:
		b.Size, b.Fetched = e.Bytes.Total, e.Bytes.Done
		b.willUnpack = e.ChainID != ""
	case FetchStart:
		b.fetch, b.Attempt = running, 0
		b.Size, b.Resumed, b.Fetched = e.Bytes.Total, e.Bytes.Done, e.Bytes.Done
		b.fetched.add(e.Time, 0)
	case FetchProgress:
		b.fetch, b.Attempt = running, 0
		b.Fetched = e.Bytes.Done
	case FetchDone:
		b.fetch, b.Attempt = finished, 0
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

// describe takes over what an event says about the blob itself.
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
		b.unpack, b.Unpacked, moved = running, 0, 0
	case UnpackProgress:
		b.Unpacked = e.Bytes.Done
	case UnpackDone:
		b.unpack = finished
		b.Unpacked = max(b.Unpacked, e.Bytes.Done)
	}
	b.UnpackedSize = max(b.UnpackedSize, e.Bytes.Total)
	b.unpacked.add(e.Time, moved)
}
