// Package trust judges whether the target of a reference may be pulled.
//
// A Verifier answers for one digest, after the reference was resolved and
// before anything but manifests is fetched. Pinned wants a digest that was written
// down before; Bindir asks programs, by the contract of containerd's
// image-verifier plugin. Verifiers of signatures would be further
// implementations; there are none yet.
//
// The package neither resolves nor fetches: pkg/pull asks it, and compares the
// digest once more before it writes a record. Start reading at Verifier.
package trust

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Mode is which verifier a caller wants.
type Mode string

const (
	ModeNone   Mode = "none" // the zero value's meaning
	ModePinned Mode = pinnedName
	ModeBindir Mode = bindirName
)

// Options are what a caller can set. The zero value verifies nothing.
type Options struct {
	Mode Mode
	// Digests are "REF=DIGEST", for ModePinned.
	Digests []string
	// BinDir, MaxVerifiers and PerVerifierTimeout are those of containerd's
	// image-verifier plugin, for ModeBindir.
	BinDir             string
	MaxVerifiers       int
	PerVerifierTimeout time.Duration
}

// New returns the verifier of o, nil for ModeNone. Options that no verifier
// can work with are an errdefs.ErrInvalidArgument.
func New(o Options) (Verifier, error) {
	switch o.Mode {
	case "", ModeNone:
		return nil, nil
	case ModePinned:
		pins, err := ParsePins(o.Digests)
		return Pinned{pins}, err
	case ModeBindir:
		if o.BinDir == "" || o.MaxVerifiers < 1 || o.PerVerifierTimeout <= 0 {
			return nil, failure.New(errdefs.ErrInvalidArgument, "verifier %s needs a folder, a time, and one program at least to be asked", bindirName)
		}
		return Bindir{Dir: o.BinDir, Max: o.MaxVerifiers, Timeout: o.PerVerifierTimeout}, nil
	}
	return nil, failure.New(errdefs.ErrInvalidArgument, "there is no verifier %q", o.Mode)
}

// Pin gives ref the digest that the options pin its name to, if it has none of
// its own: the image is then asked for by digest and registered by its tag.
func (o Options) Pin(ref source.Ref) (source.Ref, error) {
	if o.Mode != ModePinned || ref.Digest != "" {
		return ref, nil
	}
	pins, err := ParsePins(o.Digests)
	ref.Digest = pins[ref.Canonical()]
	return ref, err
}

// Verifier judges what a reference was resolved to.
type Verifier interface {
	// Verify allows target, with the reason for it, or fails: with a *Refusal
	// when target may not be pulled or cannot be judged, with the cause of ctx
	// when that has ended. Only Ref and Target's digest, size and media type
	// may be taken for granted.
	Verify(ctx context.Context, ref source.Ref, target ocispec.Descriptor) (Judgement, error)
}

// Judgement allows a digest.
type Judgement struct {
	Verifier string // pinned, bindir
	Reason   string // fit to be shown
}

// Refusal is the error of a target that must not be pulled.
type Refusal struct {
	Verifier string
	Ref      string
	Digest   digest.Digest
	Reason   string // fit to be shown
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s with digest %s is refused by verifier %s: %s", r.Ref, r.Digest, r.Verifier, r.Reason)
}

// maxReason bounds, in characters, what is shown of a reason.
const maxReason = 1 << 10

// Refuse returns the Refusal of the digest that ref was resolved to. Foreign
// text in reason is made harmless and, when it is long, cut.
func Refuse(verifier, ref string, dgst digest.Digest, reason string) *Refusal {
	return &Refusal{Verifier: verifier, Ref: ref, Digest: dgst, Reason: printable.Short(reason, maxReason)}
}
