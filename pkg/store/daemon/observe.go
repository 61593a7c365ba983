package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Observer looks at what any client fetches into a daemon, in every namespace. It
// takes no lease and changes nothing. Each call fails with store.ErrUnavailable
// while the daemon is away, and works again when it is back.
type Observer struct {
	client  *containerd.Client
	address string
}

// Scene is what surrounds the ingests of a namespace.
type Scene struct {
	Leases []Holding
	Blobs  map[digest.Digest]content.Info
	Images []images.Image
}

// Holding is a lease with what it holds.
type Holding struct {
	leases.Lease
	Resources map[leases.Resource]bool
}

// Observe connects to a daemon. It fails with store.ErrUnavailable at once when no
// process listens. The caller closes the Observer.
func Observe(ctx context.Context, o store.Options) (*Observer, error) {
	o = o.WithDefaults()
	if err := knock(ctx, o); err != nil {
		return nil, err
	}
	_, client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return &Observer{client, o.Address}, nil
}

// Close ends the connection.
func (o *Observer) Close() error { return o.client.Close() }

// Address is the socket of the daemon.
func (o *Observer) Address() string { return o.address }

// Ingests lists the blobs that are being written, by namespace. Every namespace is
// there.
func (o *Observer) Ingests(ctx context.Context) (map[string][]content.Status, error) {
	names, err := o.client.NamespaceService().List(ctx)
	if err != nil {
		return nil, o.failed(err, "listing namespaces")
	}
	all := make(map[string][]content.Status, len(names))
	for _, ns := range names {
		if all[ns], err = o.statuses(namespaces.WithNamespace(ctx, ns)); err != nil {
			return nil, o.failed(err, "listing the ingests of namespace "+ns)
		}
	}
	return all, nil
}

// statuses lists the ingests of the namespace of ctx. The daemon reads several
// files of each, without a lock, and fails if one of them comes or goes meanwhile.
func (o *Observer) statuses(ctx context.Context) (all []content.Status, err error) {
	const tries = 5
	for range tries {
		all, err = o.client.ContentStore().ListStatuses(ctx)
		if err == nil || errdefs.IsUnavailable(err) || ctx.Err() != nil {
			break
		}
	}
	return all, err
}

// Scene looks at everything in a namespace that may say what an ingest belongs to.
func (o *Observer) Scene(ctx context.Context, ns string) (*Scene, error) {
	ctx = namespaces.WithNamespace(ctx, ns)
	s := &Scene{Blobs: map[digest.Digest]content.Info{}}
	err := o.client.ContentStore().Walk(ctx, func(info content.Info) error {
		s.Blobs[info.Digest] = info
		return nil
	})
	if err != nil {
		return nil, o.failed(err, "listing the blobs of namespace "+ns)
	}
	if s.Images, err = o.client.ImageService().List(ctx); err != nil {
		return nil, o.failed(err, "listing the images of namespace "+ns)
	}
	if s.Leases, err = o.leases(ctx); err != nil {
		return nil, o.failed(err, "listing the leases of namespace "+ns)
	}
	return s, nil
}

func (o *Observer) leases(ctx context.Context) ([]Holding, error) {
	list, err := o.client.LeasesService().List(ctx)
	if err != nil {
		return nil, err
	}
	var all []Holding
	for _, l := range list {
		resources, err := o.client.LeasesService().ListResources(ctx, l)
		if errdefs.IsNotFound(err) { // it has ended meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		h := Holding{l, make(map[leases.Resource]bool, len(resources))}
		for _, r := range resources {
			h.Resources[r] = true
		}
		all = append(all, h)
	}
	return all, nil
}

// Manifest reads a manifest. What cannot be read as one, or has gone, is
// errdefs.ErrNotFound.
func (o *Observer) Manifest(ctx context.Context, ns string, info content.Info) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if info.Size > image.MaxConfig {
		return m, failure.New(errdefs.ErrNotFound, "blob %s is no manifest, it has %d bytes", info.Digest, info.Size)
	}
	ctx = namespaces.WithNamespace(ctx, ns)
	body, err := content.ReadBlob(ctx, o.client.ContentStore(), ocispec.Descriptor{Digest: info.Digest, Size: info.Size})
	if err != nil {
		return m, o.failed(err, "reading manifest "+info.Digest.String())
	}
	if err := image.Decode(body, &m); err != nil {
		return m, failure.New(errdefs.ErrNotFound, "blob %s is no manifest: %w", info.Digest, err)
	}
	return m, nil
}

// failed says what failed, and whether that is because the daemon is away.
func (o *Observer) failed(err error, what string) error {
	if away := asUnavailable(o.address, err); errors.Is(away, store.ErrUnavailable) {
		return away
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace(what), err)
}
