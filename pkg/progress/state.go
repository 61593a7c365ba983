package progress

import (
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

// Outcome is how the pull of an image ended. It is empty as long as it runs.
type Outcome string

const (
	Created   Outcome = "new"
	Updated   Outcome = "changed"
	Unchanged Outcome = "up to date"
	Failed    Outcome = "failed"
	// Checked is the end of a check, whatever it found.
	Checked Outcome = "checked"
)

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
	if b.isOver() {
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

// Image returns the state of ref. It adds one when no event has named ref yet.
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
