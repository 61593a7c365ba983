package trust

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Pins are the digests that names stand for, by Ref.Canonical.
type Pins map[string]digest.Digest

// ParsePins parses "REF=DIGEST" texts, as in
// docker.io/library/debian:12=sha256:…; REF may be short. Errors quote the text
// and are an errdefs.ErrInvalidArgument.
func ParsePins(texts []string) (Pins, error) {
	pins := Pins{}
	for _, text := range texts {
		name, hash, ok := strings.Cut(text, "=")
		if !ok {
			return nil, failure.New(errdefs.ErrInvalidArgument, "got %q, want REF=DIGEST", text)
		}
		ref, err := source.ParseRef(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if ref.Digest != "" {
			return nil, failure.New(errdefs.ErrInvalidArgument, "got %q, want a reference without a digest before the =", text)
		}
		dgst := digest.Digest(strings.TrimSpace(hash))
		if err := source.ValidDigest(dgst); err != nil {
			return nil, fmt.Errorf("pin of %s: %w", ref.Name, err)
		}
		name = ref.Canonical()
		if other := pins[name]; other != "" && other != dgst {
			return nil, failure.New(errdefs.ErrInvalidArgument, "%s is pinned to %s and to %s", name, other, dgst)
		}
		pins[name] = dgst
	}
	return pins, nil
}

// Pinned allows references that name the digest they want, or whose name is
// pinned to it.
type Pinned struct{ Pins Pins }

const pinnedName = "pinned"

// Verify implements Verifier.
func (v Pinned) Verify(_ context.Context, ref source.Ref, target ocispec.Descriptor) (Judgement, error) {
	pin := v.Pins[ref.Canonical()]
	switch {
	case ref.Digest == "" && pin == "":
		return Judgement{}, Refuse(pinnedName, ref.Name, target.Digest, "the reference has no digest, and none is pinned for it")
	case pin != "" && pin != target.Digest:
		return Judgement{}, Refuse(pinnedName, ref.Name, target.Digest, "it is pinned to "+pin.String())
	case ref.Digest != "" && ref.Digest != target.Digest:
		return Judgement{}, Refuse(pinnedName, ref.Name, target.Digest, "the reference asks for "+ref.Digest.String())
	case pin != "":
		return Judgement{pinnedName, "pinned by the configuration"}, nil
	}
	return Judgement{pinnedName, "pinned by the reference"}, nil
}
