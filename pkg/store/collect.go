package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
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

// collectTime is the expiry of the throw-away lease whose deletion triggers a
// daemon's collection.
const collectTime = 10 * time.Minute

// Collect removes what of the store nothing refers to.
func (s *Store) Collect(ctx context.Context, what What) error {
	ctx = s.Context(ctx)
	if what == Strays {
		if err := s.deleteAnyBlob(ctx); err != nil {
			return err
		}
	}
	switch {
	case s.root != nil:
		return s.root.collect(ctx)
	case what == Garbage:
		return nil
	}
	return s.collectNow(ctx)
}

// deleteAnyBlob writes a blob and deletes it: containerd compares the files of
// its content store with the records only in the collection that follows the
// deletion of a blob.
func (s *Store) deleteAnyBlob(ctx context.Context) error {
	text := rand.Text()
	desc := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	if err := content.WriteBlob(ctx, s.Content, leasePrefix+text, strings.NewReader(text), desc); err != nil {
		return fmt.Errorf("writing a blob to be collected: %w", err)
	}
	// A collection may have been faster.
	if err := s.Content.Delete(ctx, desc.Digest); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting a blob to be collected: %w", err)
	}
	return nil
}

// collectNow waits for a collection of the daemon's: it follows the synchronous
// deletion of a lease.
func (s *Store) collectNow(ctx context.Context) error {
	lease, err := s.Leases.Create(ctx, leases.WithID(leasePrefix+"collect-"+strings.ToLower(rand.Text()[:8])), leases.WithExpiration(collectTime))
	if err != nil {
		return fmt.Errorf("creating a lease: %w", err)
	}
	if err := s.Leases.Delete(context.WithoutCancel(ctx), lease, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("waiting for containerd to collect garbage: %w", err)
	}
	return nil
}
