package root

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// viewTimeout is how long a View waits for a process that writes to the root.
const viewTimeout = 200 * time.Millisecond

// View looks at the root o.Root, whose metadata it opens for reading only. A root
// that a daemon or a pull holds is store.ErrBusy. Whether o.Snapshotter exists does
// not matter. The caller closes the View.
func View(o store.Options) (*store.View, error) {
	o = o.WithDefaults()
	p, err := openPlace(o.Root)
	if err != nil {
		return nil, fmt.Errorf("looking into %s: %w", o.Root, err)
	}
	db, err := p.openBolt(context.Background(), metadataFile(), false, viewTimeout)
	if err == nil && db == nil {
		err = errdefs.ErrNotFound
	}
	if err == nil {
		err = p.lookAtBlobs()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("looking into %s: %w", o.Root, err), p.close())
	}
	return store.NewView(store.ViewParts{
		Namespace: o.Namespace,
		Images:    metadata.NewImageStore(metadata.NewDB(db, nil, nil)),
		Blobs:     contentdir.Blobs(filepath.Join(p.path, contentDir)),
		Namespaces: func(ctx context.Context) (names []string, err error) {
			return names, db.View(func(tx *bolt.Tx) error {
				names, err = metadata.NewNamespaceStore(tx).List(ctx)
				return err
			})
		},
		Snapshotters: func(context.Context) ([]string, error) { return Snapshotters(), nil },
		Close:        func() error { return errors.Join(db.Close(), p.close()) },
	}), nil
}

// Snapshotters are those that a root can have.
func Snapshotters() []string { return []string{store.Overlayfs, store.Native, store.Erofs} }
