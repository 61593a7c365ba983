// Package store is where images go: containerd's own interfaces, gathered in
// one struct. Dial fills it from a running daemon, Open from an embedded root
// on disk that a daemon started later can take over.
//
// The package also keeps the leases under which a pull writes: see Lease. It
// does not know how an image is fetched or unpacked; pkg/pull does.
package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
)

var (
	// ErrUnavailable says that the daemon cannot be reached, or went away.
	ErrUnavailable = errors.New("containerd is not available")
	// ErrBusy says that somebody else holds the embedded root.
	ErrBusy = errors.New("the root is in use")
)

const (
	defaultNamespace   = "default"
	defaultSnapshotter = "overlayfs"
	nativeSnapshotter  = "native"
)

// Store is a place for images. Its methods and those of its fields may be
// used from many goroutines; contexts must come from Context.
type Store struct {
	Content     content.Store
	Images      images.Store
	Leases      leases.Manager
	Snapshotter snapshots.Snapshotter
	// Applier unpacks what we do not unpack ourselves.
	Applier diff.Applier
	// Namespace and Name (of the snapshotter) as resolved from the options.
	Namespace string
	Name      string
	// Embedded is true for a root of our own, false for a daemon.
	Embedded bool
	// Hasher is for all that is hashed on the way into the store.
	Hasher *multibuffer.Hasher

	traits    atomic.Pointer[traits]
	sharing   sharing
	abandoned abandoned
	// What is behind it: one of the two, the other is nil.
	daemon *daemon
	root   *root
}

// traits are what is known of a daemon, or of a root. A daemon that comes back
// may be another one and have others.
type traits struct {
	pid       int // 0 if it cannot be seen
	applies   bool
	transfers bool
	verifiers Verifiers
	// The folders of blobs and of snapshots, "" if not known. A daemon's are
	// what it says; see Room.
	contentRoot, snapshotRoot string
}

// Verifiers are those that the daemon asks before it pulls.
func (s *Store) Verifiers() Verifiers { return s.traits.Load().verifiers }

// sharing remembers what the snapshotter can do and whether the mounts of
// prepared snapshots are ours to write. The answers are the same as long as the
// daemon is.
type sharing struct {
	mu           sync.Mutex
	capabilities []string // of the snapshotter, such as "rebase"
	proven       bool     // ok and reason are known
	ok           bool
	reason       string
}

// reset begins with a snapshotter of which only the capabilities are known.
func (s *sharing) reset(capabilities []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capabilities, s.proven = capabilities, false
}

// isProven tells whether it is known that mounts are ours to write.
func (s *sharing) isProven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proven && s.ok
}

// Context returns ctx with the store's namespace, as every call needs it.
func (s *Store) Context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.Namespace)
}

// Close releases the daemon's connection or the embedded root.
func (s *Store) Close() error {
	if s.root != nil {
		return s.root.close()
	}
	return s.daemon.close()
}

// Flush puts what was written to an embedded root on stable storage. Only then
// is there an image that was registered.
func (s *Store) Flush() error {
	if s.root == nil {
		return nil
	}
	if err := s.root.flush(); err != nil {
		return fmt.Errorf("writing the root: %w", err)
	}
	return nil
}

// Applies tells whether the Applier can work at all: a daemon's diff service
// may be switched off.
func (s *Store) Applies() bool { return s.Embedded || s.traits.Load().applies }

// SyncsApplied tells whether the Applier can sync what it has applied. Daemons
// can since 2.0; older ones do not even notice that they were asked.
func (s *Store) SyncsApplied(ctx context.Context) (bool, error) {
	if s.daemon == nil {
		return true, nil
	}
	return s.isVersion2(ctx)
}

// since2 tells whether the daemon is of version 2.0 or later.
func (s *Store) isVersion2(ctx context.Context) (bool, error) {
	version, err := s.daemon.version(ctx)
	if err != nil {
		return false, fmt.Errorf("asking containerd for its version: %w", err)
	}
	return !strings.HasPrefix(strings.TrimPrefix(version, "v"), "1."), nil
}

// MakesOfBlobs tells whether the snapshotter is one of containerd's own, whose
// snapshots were made of a blob. Others may make theirs of something else, and
// an image then lacks blobs because it does not need them.
func (s *Store) MakesOfBlobs() bool {
	switch s.Name {
	case "overlayfs", "native", "btrfs", "zfs", "devmapper", "blockfile", "erofs":
		return true
	}
	return false
}

// Rebase tells whether a snapshot may get its parent at commit, so that layers
// can be unpacked in any order.
func (s *Store) Rebase() bool {
	s.sharing.mu.Lock()
	defer s.sharing.mu.Unlock()
	return slices.Contains(s.sharing.capabilities, snapshots.RebaseCap)
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
// labels, creating it if need be. Labels that others gave it stay.
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

// CheckChain tells whether the snapshots of diffIDs are all there, each on top
// of the one before.
func (s *Store) CheckChain(ctx context.Context, diffIDs []digest.Digest) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(questions)
	parent := ""
	for _, id := range identity.ChainIDs(slices.Clone(diffIDs)) {
		below := parent
		g.Go(func() error { return s.checkSnapshot(ctx, id.String(), below) })
		parent = id.String()
	}
	return g.Wait()
}

// questions is how many of a daemon are asked at once where there is one for
// each layer.
const questions = 8

func (s *Store) checkSnapshot(ctx context.Context, name, parent string) error {
	info, err := s.Snapshotter.Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("checking snapshot %s: %w", name, err)
	}
	if info.Kind != snapshots.KindCommitted || info.Parent != parent {
		return fmt.Errorf("snapshot %s is %s on %q, want committed on %q: %w", name, info.Kind, info.Parent, parent, errdefs.ErrDataLoss)
	}
	return nil
}

// Highest returns how many snapshots of a chain, bottom first, there are up to
// the highest that exists.
func (s *Store) Highest(ctx context.Context, chain []digest.Digest) (int, error) {
	n := len(chain)
	if n == 0 {
		return 0, nil
	}
	if has, err := s.Has(ctx, chain[n-1].String()); err != nil || has { // nearly always all or nothing
		return n, err
	}
	there := make([]bool, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(questions)
	for i, id := range chain[:n-1] {
		g.Go(func() (err error) {
			there[i], err = s.Has(ctx, id.String())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	for i := n - 1; i >= 0; i-- {
		if there[i] {
			return i + 1, nil
		}
	}
	return 0, nil
}
