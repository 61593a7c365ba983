// Package store is where images go: containerd's own interfaces, gathered in one
// struct, with the leases under which a pull writes, garbage collection, and the
// space on disk. What a Store stands on is a Backend: store/daemon connects to a
// running containerd, store/root opens a root on disk that a daemon started later
// can take over. The room does not ask which of the two it has.
//
// It does not know how an image is fetched or unpacked; pkg/pull does. Read
// Store first, then Lease.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

var (
	// ErrUnavailable says that the daemon cannot be reached, or went away.
	ErrUnavailable = errors.New("containerd is not available")
	// ErrBusy says that another process holds the embedded root.
	ErrBusy = errors.New("the root is in use")
	// ErrUnsafe says that other users could lead what is done in the root elsewhere,
	// or that it cannot be read.
	ErrUnsafe = errors.New("the root is not safe to work on")
	// ErrForeign says that a folder has other things in it than a root has.
	ErrForeign = errors.New("the folder is not containerd's")
	// ErrNoApplier says that the daemon has no service that can apply layers.
	ErrNoApplier = errors.New("containerd has no diff service that can apply the layers")
)

const (
	defaultNamespace      = "default"
	defaultConnectTimeout = 10 * time.Second

	// Overlayfs and Native are the snapshotters whose snapshots are plain
	// folders, and Erofs the one whose layers are EROFS images. Overlayfs is the
	// default.
	Overlayfs = "overlayfs"
	Native    = "native"
	Erofs     = "erofs"
)

// Options say which store to use. Root and Address exclude each other; with a
// Root there is no daemon.
type Options struct {
	// Address is the containerd socket, with or without "unix://"; empty means
	// containerd's default.
	Address string
	// Root is the folder of an embedded store, laid out as containerd's root.
	Root string
	// Force lets a root be made in a folder that has other things in it.
	Force bool
	// Namespace is the containerd namespace; empty means "default".
	Namespace string
	// Snapshotter is empty for the namespace's default, else overlayfs.
	Snapshotter string
	// ConnectTimeout bounds the time to reach the daemon, at first and after it
	// went away; 0 means 10 s.
	ConnectTimeout time.Duration
}

// WithDefaults fills in what is empty, save the snapshotter, and makes a path of
// the address.
func (o Options) WithDefaults() Options {
	o.Address = cmp.Or(strings.TrimPrefix(o.Address, "unix://"), defaults.DefaultAddress)
	o.Namespace = cmp.Or(o.Namespace, defaultNamespace)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, defaultConnectTimeout)
	return o
}

// Store is a place for images. Its methods and those of its Parts may be used
// from many goroutines; contexts must come from Context.
type Store struct {
	Parts
	backend   Backend
	abandoned abandoned
	dropping  sync.RWMutex // of a damaged blob, and the opening of ingests
}

// New returns the Store that stands on b, and closes b when it is closed.
func New(b Backend) *Store {
	s := &Store{Parts: b.Parts(), backend: b}
	s.Content = honest{s.Content, s}
	return s
}

// Context returns ctx with the store's namespace, as every call needs it.
func (s *Store) Context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.Namespace)
}

// Traits are what the store can do now.
func (s *Store) Traits() Traits { return s.backend.Traits() }

// Close releases the connection to the daemon, or the embedded root.
func (s *Store) Close() error { return s.backend.Close() }

// Flush puts what was written to an embedded root on stable storage. An image
// that was registered there may be lost before that.
func (s *Store) Flush() error { return s.backend.Flush() }

// Attach returns a context for work on the daemon that answers now. It ends
// when the connection to that daemon does, with ErrUnavailable as its cause: what
// runs on the other side of a broken connection cannot be known, and a daemon
// that comes back may be another one. Attach itself waits for a daemon that is
// away, for at most Options.ConnectTimeout, and fails with ErrUnavailable after it.
//
// The caller must call end when the work is done. On an embedded root ctx is
// returned as it is.
func (s *Store) Attach(ctx context.Context) (attached context.Context, end func(), err error) {
	return s.backend.Attach(ctx)
}

// Disconnected reports whether the daemon that ctx was attached to has gone. A
// call may fail a moment before the connection is known to be broken, so the
// daemon is asked.
func (s *Store) Disconnected(ctx context.Context) bool { return s.backend.Disconnected(ctx) }

// SyncsApplied reports whether the Applier can sync what it has applied. Daemons
// can since 2.0; older ones do not even notice that they were asked.
func (s *Store) SyncsApplied(ctx context.Context) (bool, error) { return s.backend.SyncsApplied(ctx) }

// MakesOfBlobs reports whether the snapshotter is one of containerd's own, whose
// snapshots are made of blobs. Others may make theirs of something else, and an
// image then lacks blobs because it does not need them.
func (s *Store) MakesOfBlobs() bool {
	switch s.Name {
	case "overlayfs", "native", "btrfs", "zfs", "devmapper", "blockfile", "erofs":
		return true
	}
	return false
}

// Image returns the record of name, or nil if there is none.
func (s *Store) Image(ctx context.Context, name string) (*images.Image, error) {
	img, err := s.Images.Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the image record of %s: %w", name, err)
	}
	return &img, nil
}

// Register points the record img.Name to img.Target and adds img.Labels to its
// labels, creating it if need be. Other labels of the record stay.
func (s *Store) Register(ctx context.Context, img images.Image) error {
	const tries = 3 // another client may create or delete the record in between
	fields := []string{"target"}
	for key := range img.Labels {
		fields = append(fields, "labels."+key)
	}
	var err error
	for range tries {
		if _, err = s.Images.Create(ctx, img); err == nil || !errdefs.IsAlreadyExists(err) {
			break
		}
		if _, err = s.Images.Update(ctx, img, fields...); err == nil || !errdefs.IsNotFound(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("writing the image record of %s: %w", img.Name, err)
	}
	return nil
}

// Restore makes the record of name what it was before, or removes it if there
// was none.
func (s *Store) Restore(ctx context.Context, name string, before *images.Image) error {
	var err error
	if before == nil {
		err = s.Images.Delete(ctx, name)
	} else {
		_, err = s.Images.Update(ctx, *before)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("restoring the image record of %s: %w", name, err)
	}
	return nil
}

// questions is how many calls run at once where there is one for each layer: a
// daemon's answers take longer on the way than to be found.
const questions = 16
