package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// viewTimeout is how long a View waits for whoever writes to a root.
const viewTimeout = 200 * time.Millisecond

// View is a look at a place for images that changes nothing there, waits for
// nobody and does not even make what is missing: what completion asks.
type View struct {
	namespace    string
	images       images.Store
	blobs        content.Provider
	namespaces   func(context.Context) ([]string, error)
	snapshotters func(context.Context) ([]string, error)
	close        func() error
}

// OpenView looks at the daemon, or at the embedded root o.Root. Whether
// o.Snapshotter exists does not matter. The caller closes the View.
func OpenView(ctx context.Context, o Options) (*View, error) {
	if o.Root != "" {
		return viewRoot(o)
	}
	return viewDaemon(ctx, o)
}

func viewDaemon(ctx context.Context, o Options) (*View, error) {
	address := socketPath(o.Address)
	timeout := o.ConnectTimeout
	if timeout == 0 {
		timeout = defaultConnectTimeout
	}
	if _, err := knock(ctx, address, timeout); err != nil {
		return nil, err
	}
	l, err := connect(address, timeout)
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd at %s: %w: %w", address, ErrUnavailable, err)
	}
	client, err := containerd.NewWithConn(l.conn)
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	return &View{
		namespace:    namespaceOr(o.Namespace),
		images:       client.ImageService(),
		blobs:        client.ContentStore(),
		namespaces:   client.NamespaceService().List,
		snapshotters: func(ctx context.Context) ([]string, error) { return daemonSnapshotters(ctx, client) },
		close:        client.Close,
	}, nil
}

func daemonSnapshotters(ctx context.Context, client *containerd.Client) ([]string, error) {
	answer, err := client.IntrospectionService().Plugins(ctx, "type=="+pluginSnapshots)
	if err != nil {
		return nil, fmt.Errorf("listing containerd's snapshotters: %w", err)
	}
	var names []string
	for _, p := range answer.Plugins {
		if p.InitErr == nil {
			names = append(names, p.ID)
		}
	}
	return names, nil
}

// viewRoot opens the metadata for reading only. A root that a daemon or a pull
// holds is ErrBusy.
func viewRoot(o Options) (*View, error) {
	path := filepath.Join(o.Root, metadataDir, "meta.db")
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: viewTimeout})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("looking into %s: %w", o.Root, ErrBusy)
	case err != nil:
		return nil, fmt.Errorf("looking into %s: %w", o.Root, err)
	}
	return &View{
		namespace: namespaceOr(o.Namespace),
		images:    metadata.NewImageStore(metadata.NewDB(db, nil, nil)),
		blobs:     contentdir.Blobs(filepath.Join(o.Root, contentDir)),
		namespaces: func(ctx context.Context) (names []string, err error) {
			return names, db.View(func(tx *bolt.Tx) error {
				names, err = metadata.NewNamespaceStore(tx).List(ctx)
				return err
			})
		},
		snapshotters: func(context.Context) ([]string, error) { return RootSnapshotters(), nil },
		close:        db.Close,
	}, nil
}

// RootSnapshotters are those that an embedded root can have.
func RootSnapshotters() []string { return []string{defaultSnapshotter, nativeSnapshotter} }

// Images lists the image records of the namespace.
func (v *View) Images(ctx context.Context) ([]images.Image, error) {
	all, err := v.images.List(namespaces.WithNamespace(ctx, v.namespace))
	if err != nil {
		return nil, fmt.Errorf("listing the images of namespace %s: %w", v.namespace, err)
	}
	return all, nil
}

// Platforms lists those of the image name, without attestations.
func (v *View) Platforms(ctx context.Context, name string) ([]ocispec.Platform, error) {
	ctx = namespaces.WithNamespace(ctx, v.namespace)
	img, err := v.images.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading the image record of %s: %w", name, err)
	}
	all, err := images.Platforms(ctx, v.blobs, img.Target)
	if err != nil {
		return nil, fmt.Errorf("reading the platforms of %s: %w", name, err)
	}
	return slices.DeleteFunc(all, func(p ocispec.Platform) bool { return p.OS == "unknown" }), nil
}

// Namespaces lists those of the daemon, or of the root.
func (v *View) Namespaces(ctx context.Context) ([]string, error) { return v.namespaces(ctx) }

// Snapshotters lists those that can be used.
func (v *View) Snapshotters(ctx context.Context) ([]string, error) { return v.snapshotters(ctx) }

// Close ends the look.
func (v *View) Close() error { return v.close() }
