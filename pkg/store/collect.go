package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a collection is to remove, and by when.
type What int

const (
	// Garbage is what nothing refers to. A daemon removes it by itself, in its
	// own time, and is not asked to.
	Garbage What = iota
	// GarbageNow is garbage that is gone when Collect returns.
	GarbageNow
	// Strays are garbage and the files of the content store that have no record,
	// gone when Collect returns.
	Strays
)

// Collect removes what of the store nothing refers to.
func (s *Store) Collect(ctx context.Context, what What) error {
	ctx = s.Context(ctx)
	if what == Strays {
		if err := s.deleteAnyBlob(ctx); err != nil {
			return err
		}
	}
	return s.backend.Collect(ctx, what)
}

// deleteAnyBlob writes a blob and deletes it: containerd compares the files of
// its content store with the records only in the collection that follows the
// deletion of a blob.
func (s *Store) deleteAnyBlob(ctx context.Context) error {
	text := rand.Text()
	desc := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	if err := content.WriteBlob(ctx, s.Content, LeasePrefix+text, strings.NewReader(text), desc); err != nil {
		return fmt.Errorf("writing a blob to be collected: %w", err)
	}
	// A collection may have been faster.
	if err := s.Content.Delete(ctx, desc.Digest); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting a blob to be collected: %w", err)
	}
	return nil
}
