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
	moved   meter             // bytes fetched, and hashed by a check
	unpacks meter             // bytes of layers that were unpacked
	byRef   map[string]*Image // those of Images
}

// Image is the state of one reference.
type Image struct {
	Ref     string
	Digest  digest.Digest // of the target; empty until resolved
	Blobs   []*BlobState  // in order of appearance
	Trouble Trouble       // with the target
	Outcome Outcome
	// Fetched and Reused count bytes of blobs; they are exact once the image is
	// registered and the sum over Blobs before.
	Fetched, Reused int64
	Duration        time.Duration // of the pull, once registered
	Engine          string        // that did the work, once registered
	Err             error         // why Outcome is Failed

	byDigest map[digest.Digest]*BlobState // those of Blobs
}

// Outcome is how the pull of an image ended. It is empty as long as it runs.
type Outcome string

const (
	Created   Outcome = "new"
	Updated   Outcome = "changed"
	Unchanged Outcome = "up to date"
	// Relabelled is an image of which only labels are new.
	Relabelled Outcome = "relabelled"
	Failed     Outcome = "failed"
	// Checked is the end of a check, whatever it found.
	Checked Outcome = "checked"
)

// Totals sums up the work of a call. What several images have counts once.
type Totals struct {
	Fetched, Size      int64 // bytes held and wanted of the blobs that are not present, and hashed by a check
	Unpacked, ToUnpack int64 // bytes of layers, as they are stored
	Layers, LayersDone int
	Failed             int   // images
	BytesFetched       int64 // that came over the network
	BytesReused        int64
}

// Totals returns the sums over all images.
func (s *State) Totals() Totals {
	var t Totals
	blobs := map[digest.Digest][]*BlobState{}
	for _, img := range s.Images {
		t.BytesFetched += img.Fetched
		t.BytesReused += img.Reused
		if img.Outcome == Failed {
			t.Failed++
		}
		for _, b := range img.Blobs {
			blobs[b.Digest] = append(blobs[b.Digest], b)
		}
	}
	for _, same := range blobs {
		t.add(same)
		t.BytesReused -= countedAgain(same)
		t.countLayer(same)
	}
	return t
}

// add adds the bytes of a blob. Of the images that have it one fetches it, the one that
// has come farthest, or if none has begun, any of them; and as a rule the same one
// unpacks it.
func (t *Totals) add(same []*BlobState) {
	var comes *BlobState
	unpacks := false
	for _, b := range same {
		if b.hash != idle {
			t.Fetched += b.Hashed
			t.Size += max(b.Size, b.Hashed)
		}
		if b.unpack != idle {
			unpacks = true
			t.Unpacked += min(b.Consumed, b.Size)
			t.ToUnpack += b.Size
		}
		if !b.Present && (b.hash == idle || b.fetch != idle) && (comes == nil || b.Fetched > comes.Fetched) {
			comes = b
		}
	}
	present := slices.ContainsFunc(same, func(b *BlobState) bool { return b.Present })
	if comes == nil || comes.fetch == idle && present {
		return
	}
	t.Fetched += comes.Fetched
	t.Size += max(comes.Size, comes.Fetched)
	if comes.willUnpack && !unpacks {
		t.ToUnpack += comes.Size
	}
}

// Part is how much of all fetching and unpacking is done, from 0 to 1. It is negative
// while nothing is to be done.
func (t Totals) Part() float64 { return part(t.Fetched+t.Unpacked, t.Size+t.ToUnpack) }

// countLayer counts a layer, which is done when it is done for every image.
func (t *Totals) countLayer(same []*BlobState) {
	if same[0].Kind != Layer {
		return
	}
	t.Layers++
	if !slices.ContainsFunc(same, func(b *BlobState) bool { return !b.isOver() }) {
		t.LayersDone++
	}
}

// countedAgain returns how many bytes of a blob several images reused that one of
// them had fetched or reused before.
func countedAgain(same []*BlobState) int64 {
	if len(same) < 2 {
		return 0
	}
	var size, reused, moved int64
	for _, b := range same {
		size, reused, moved = max(size, b.Size), reused+b.reused(), moved+b.moved
	}
	return reused - min(reused, max(size-moved, 0))
}

// Rate returns the bytes per second that came over the network lately, or were
// hashed by a check.
func (s *State) Rate(now time.Time) float64 { return s.moved.rate(now) }

// ETA estimates when the last byte will have been fetched, and unpacked as far as the
// speed of that is known: both go on at the same time. It is 0 when nothing is missing
// or nothing moves.
func (s *State) ETA(now time.Time) time.Duration {
	t := s.Totals()
	fetch, known := left(t.Size-t.Fetched, s.Rate(now))
	unpack, _ := left(t.ToUnpack-t.Unpacked, s.unpacks.rate(now))
	if !known {
		return 0
	}
	return max(fetch, unpack)
}

// left is how long the rest takes, and whether that is known.
func left(bytes int64, rate float64) (time.Duration, bool) {
	if bytes <= 0 || rate < 1 {
		return 0, bytes <= 0
	}
	return time.Duration(float64(bytes) / rate * float64(time.Second)), true
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
		img := s.Image(e.Ref)
		img.Digest, img.Trouble = e.Digest, Trouble{}
	case Verified:
		s.Image(e.Ref).Outcome = Checked
	case Ended: // so that a call without an end keeps no more than runs
		s.Images = slices.DeleteFunc(s.Images, func(img *Image) bool { return img.Ref == e.Ref })
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
		s.applyTrouble(e)
	case Stalled:
		s.applyTrouble(e)
	}
}

// applyTrouble folds an event about what does not come: a blob, or what leads to the
// target of an image.
func (s *State) applyTrouble(e Event) {
	if b := s.Blob(e); b != nil {
		b.Trouble.apply(e)
		return
	}
	if img := s.byRef[e.Ref]; img != nil {
		img.Trouble.apply(e)
	}
}

// applyBlob folds an event about one blob.
func (s *State) applyBlob(e Event) {
	img := s.Image(e.Ref)
	b := img.blob(e.Digest)
	img.Trouble = Trouble{}
	before, resumed, hashed, consumed := b.Fetched, b.Resumed, b.Hashed, b.Consumed
	present := b.Present
	b.apply(e)
	if e.Kind == Present && !present {
		img.Reused += b.Size - resumed
	}
	if e.Kind == FetchStart { // again if what came before was wrong
		img.Reused += b.Resumed - resumed
		s.moved.add(e.Time, 0)
	}
	if e.Kind == VerifyProgress || e.Kind == VerifyDone {
		s.moved.add(e.Time, max(b.Hashed-hashed, 0))
		b.hashed.add(e.Time, max(b.Hashed-hashed, 0))
	}
	switch e.Kind {
	case UnpackStart:
		s.unpacks.add(e.Time, 0)
		b.consumed.add(e.Time, 0)
	case UnpackProgress, UnpackDone:
		s.unpacks.add(e.Time, max(b.Consumed-consumed, 0))
		b.consumed.add(e.Time, max(b.Consumed-consumed, 0))
	}
	if e.Kind == FetchProgress || e.Kind == FetchDone {
		moved := max(b.Fetched-before, 0)
		b.moved += moved
		img.Fetched += moved
		s.moved.add(e.Time, moved)
		b.fetched.add(e.Time, moved)
	}
}

// Image returns the state of ref. It adds one when no event has named ref yet.
func (s *State) Image(ref string) *Image {
	img := s.byRef[ref]
	if img == nil {
		img = &Image{Ref: ref, byDigest: map[digest.Digest]*BlobState{}}
		if s.byRef == nil {
			s.byRef = map[string]*Image{}
		}
		s.byRef[ref] = img
		s.Images = append(s.Images, img)
	}
	return img
}

// Blob returns the blob that e is about, or nil if it is not known.
func (s *State) Blob(e Event) *BlobState {
	img := s.byRef[e.Ref]
	if img == nil {
		return nil
	}
	return img.byDigest[e.Digest]
}

func (img *Image) blob(dgst digest.Digest) *BlobState {
	b := img.byDigest[dgst]
	if b == nil {
		b = &BlobState{Digest: dgst}
		img.byDigest[dgst] = b
		img.Blobs = append(img.Blobs, b)
	}
	return b
}

func (img *Image) register(e Event) {
	img.Digest, img.Duration, img.Engine = e.Digest, e.Duration, e.Engine
	img.Fetched, img.Reused = e.Traffic.Fetched, e.Traffic.Reused
	switch {
	case !e.Changed:
		img.Outcome = Unchanged
	case e.Previous == "":
		img.Outcome = Created
	case e.Previous == e.Digest:
		img.Outcome = Relabelled
	default:
		img.Outcome = Updated
	}
}
