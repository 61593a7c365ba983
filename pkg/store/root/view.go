package root

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/metadata"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

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
	path := filepath.Join(o.Root, metadataDir, "meta.db")
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: viewTimeout})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("looking into %s: %w", o.Root, store.ErrBusy)
	case err != nil:
		return nil, fmt.Errorf("looking into %s: %w", o.Root, err)
	}
	return store.NewView(store.ViewParts{
		Namespace: o.Namespace,
		Images:    metadata.NewImageStore(metadata.NewDB(db, nil, nil)),
		Blobs:     contentdir.Blobs(filepath.Join(o.Root, contentDir)),
		Namespaces: func(ctx context.Context) (names []string, err error) {
			return names, db.View(func(tx *bolt.Tx) error {
				names, err = metadata.NewNamespaceStore(tx).List(ctx)
				return err
			})
		},
		Snapshotters: func(context.Context) ([]string, error) { return Snapshotters(), nil },
		Close:        db.Close,
	}), nil
}

// Snapshotters are those that a root can have.
func Snapshotters() []string { return []string{store.Overlayfs, store.Native} }
