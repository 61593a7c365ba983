package check

import (
	"context"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// nowhere is the source of an image for which no registry can be asked. Every
// question is answered with the reason.
type nowhere struct{ reason error }

// Resolve implements source.Source.
func (n nowhere) Resolve(context.Context, source.Ref) (source.Target, error) {
	return source.Target{}, n.reason
}

// Refresh implements source.Source.
func (n nowhere) Refresh(context.Context, source.Ref, source.Target) (source.Target, error) {
	return source.Target{}, n.reason
}

// Manifest implements source.Source.
func (n nowhere) Manifest(context.Context, source.Ref, ocispec.Descriptor) (source.Target, error) {
	return source.Target{}, n.reason
}

// Open implements source.Source.
func (n nowhere) Open(context.Context, source.Ref, ocispec.Descriptor, source.Range) (*source.Body, error) {
	return nil, n.reason
}

// Document implements source.Source.
func (n nowhere) Document(context.Context, source.Ref, ocispec.Descriptor) (*source.Body, error) {
	return nil, n.reason
}

// Blame implements source.Source.
func (nowhere) Blame(source.Ref, ocispec.Descriptor, string, error) {}

// Suspect implements source.Source.
func (nowhere) Suspect(source.Ref, ocispec.Descriptor, ...string) {}

// Backoff implements source.Source: there is no further try.
func (nowhere) Backoff(_ context.Context, _ int, cause error) error { return cause }

// Slow implements source.Source.
func (nowhere) Slow(error) bool { return false }

// StallTimeout implements source.Source.
func (nowhere) StallTimeout() time.Duration { return 0 }
