package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// takenTime is the expiry of the lease that stands in for a record which was taken: as
// long as that of a pull.
const takenTime = 24 * time.Hour

// taken are records of blobs that were taken from other namespaces. containerd has one
// file of a blob for all of them and keeps it for as long as one has a record, so that
// a damaged one goes only when all records do. Each comes back when the blob is
// committed anew.
type taken struct {
	mu  sync.Mutex
	all map[digest.Digest][]record
}

// record is that of a blob in a namespace.
type record struct {
	namespace string
	info      content.Info
	lease     leases.Lease // of the namespace, on what the record kept from being collected
}

func (t *taken) add(r record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[digest.Digest][]record{}
	}
	t.all[r.info.Digest] = append(t.all[r.info.Digest], r)
}

// release returns the records of a blob, and forgets them.
func (t *taken) release(dgst digest.Digest) []record {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.all[dgst]
	delete(t.all, dgst)
	return all
}

// Drop implements store.Backend. The file goes with the collection that follows.
func (d *daemon) Drop(ctx context.Context, desc ocispec.Descriptor) error {
	others, err := d.holders(ctx, desc)
	if err != nil {
		return err
	}
	for _, ns := range others {
		if err := d.take(ctx, ns, desc.Digest); err != nil && !errdefs.IsNotFound(err) {
			err = fmt.Errorf("removing the record that namespace %s has of it: %w", ns, err)
			return errors.Join(err, d.giveBack(ctx, ns, desc.Digest))
		}
	}
	if err := d.parts.Content.Delete(ctx, desc.Digest); err != nil && !errdefs.IsNotFound(err) {
		return errors.Join(err, d.giveBack(ctx, d.parts.Namespace, desc.Digest))
	}
	return d.Collect(ctx, store.GarbageNow)
}

// holders lists the other namespaces that have a record of a blob. One of another size
// is an errdefs.ErrInvalidArgument.
func (d *daemon) holders(ctx context.Context, desc ocispec.Descriptor) (all []string, err error) {
	names, err := d.Namespaces(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	for _, ns := range names {
		if ns == d.parts.Namespace {
			continue
		}
		info, err := d.parts.Content.Info(namespaces.WithNamespace(ctx, ns), desc.Digest)
		switch {
		case errdefs.IsNotFound(err):
			continue
		case err != nil:
			return nil, fmt.Errorf("looking it up in namespace %s: %w", ns, err)
		case info.Size != desc.Size:
			return nil, failure.New(errdefs.ErrInvalidArgument, "namespace %s has it with %d bytes, and the image says %d", ns, info.Size, desc.Size)
		}
		all = append(all, ns)
	}
	return all, nil
}

// take removes the record that a namespace has of a blob, and holds what it kept.
func (d *daemon) take(ctx context.Context, ns string, dgst digest.Digest) error {
	ctx = namespaces.WithNamespace(ctx, ns)
	info, err := d.parts.Content.Info(ctx, dgst) // with the labels of now
	if err != nil {
		return err
	}
	lease, err := d.parts.Leases.Create(ctx, leases.WithID(store.LeasePrefix+"shared-"+strings.ToLower(rand.Text()[:8])), leases.WithExpiration(takenTime))
	if err != nil {
		return fmt.Errorf("creating a lease: %w", err)
	}
	for _, kept := range append(store.References(info.Labels), leases.Resource{ID: dgst.String(), Type: store.ResourceContent}) {
		if err := d.parts.Leases.AddResource(ctx, lease, kept); err != nil && !errdefs.IsNotFound(err) {
			return errors.Join(fmt.Errorf("leasing %s: %w", kept.ID, err), d.parts.Leases.Delete(ctx, lease))
		}
	}
	if err := d.parts.Content.Delete(leases.WithLease(ctx, lease.ID), dgst); err != nil {
		return errors.Join(err, d.parts.Leases.Delete(ctx, lease))
	}
	d.taken.add(record{ns, info, lease})
	return nil
}

// givenBack is giveBack for a blob that this namespace has again.
func (d *daemon) givenBack(ctx context.Context, dgst digest.Digest) error {
	return d.giveBack(ctx, d.parts.Namespace, dgst)
}

// giveBack makes the records anew that were taken of a blob, which namespace from has.
func (d *daemon) giveBack(ctx context.Context, from string, dgst digest.Digest) error {
	var errs []error
	for _, r := range d.taken.release(dgst) {
		if err := d.makeRecord(ctx, from, r); err != nil {
			errs = append(errs, failure.New(errdefs.ErrDataLoss, "namespace %s has lost its record of the blob: %w", r.namespace, err).
				WithHint("containerd-pull verify --repair --namespace %s makes it anew", r.namespace))
		}
	}
	return errors.Join(errs...)
}

// makeRecord makes a record anew. containerd takes the bytes from the namespace that
// has them, or is sent them where it keeps namespaces apart.
func (d *daemon) makeRecord(ctx context.Context, from string, r record) error {
	ctx, end := store.Outlive(ctx)
	defer end()
	desc := ocispec.Descriptor{Digest: r.info.Digest, Size: r.info.Size}
	blob, err := d.parts.Content.ReaderAt(namespaces.WithNamespace(ctx, from), desc)
	if err != nil {
		return err
	}
	defer blob.Close()
	there := leases.WithLease(namespaces.WithNamespace(ctx, r.namespace), r.lease.ID)
	err = content.WriteBlob(there, d.parts.Content, r.lease.ID, content.NewReader(blob), desc, content.WithLabels(r.info.Labels))
	if err != nil {
		return err
	}
	if err := d.parts.Leases.Delete(there, r.lease); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting lease %s: %w", r.lease.ID, err)
	}
	return nil
}
