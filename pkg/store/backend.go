package store

import (
	"context"
	"os"
	"path"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
)

// Backend is what a Store stands on: a daemon (store/daemon) or an embedded root
// on disk (store/root). All contexts carry the namespace of Parts.
type Backend interface {
	// Parts are the same for as long as the backend is open.
	Parts() Parts
	// Traits are those of now: a daemon that comes back may be another one.
	Traits() Traits
	// Attach is that of Store.
	Attach(ctx context.Context) (attached context.Context, end func(), err error)
	// Disconnected is that of Store.
	Disconnected(ctx context.Context) bool
	// Upper is that of Store; why it has one is said too.
	Upper(ctx context.Context, key string, mounts []mount.Mount) (u *Upper, why string)
	// SyncsApplied reports whether Parts.Applier heeds the wish to sync.
	SyncsApplied(ctx context.Context) (bool, error)
	// Folders are those of the blobs and of the snapshots, each nil if it is not
	// known, or not proven to be the one that this process sees.
	Folders(ctx context.Context) (content, snapshots *Place)
	// Namespaces is that of Store.
	Namespaces(ctx context.Context) ([]string, error)
	// Snapshotter is the one of that name, nil if it is not open. Whether a daemon has
	// it shows when it is asked.
	Snapshotter(name string) snapshots.Snapshotter
	// Files is a look at the files of records.
	Files(ctx context.Context) Files
	// Refill is that of Store.
	Refill(ctx context.Context, name, key string, u *Upper) error
	// Drop removes a blob, its record and its file. Where other namespaces have
	// records of it, they have them again once it is written anew. If these say another
	// size than desc, nothing is removed, and the error is errdefs.ErrInvalidArgument:
	// then desc is wrong, and not the file.
	Drop(ctx context.Context, desc ocispec.Descriptor) error
	// Collect is that of Store.
	Collect(ctx context.Context, what What) error
	// Sweep deletes the stale leases and what only they held, and returns what
	// has gone. With dryRun nothing changes, and it returns what would go.
	Sweep(ctx context.Context, stale []leases.Lease, dryRun bool) (Sizes, error)
	// Flush is that of Store.
	Flush() error
	// Close is that of Store.
	Close() error
}

// Place is a folder that is open, or the way to one that will be made: containerd
// 1.7 makes its content folder when the first blob comes.
type Place struct {
	Dir  *os.File // belongs to the backend
	Rest string   // what is not there yet beneath Dir
}

// Path is for people to read.
func (p *Place) Path() string { return path.Join(p.Dir.Name(), p.Rest) }

// Files is what can be seen of the files that records promise.
type Files interface {
	// BlobDamage says what is wrong with the file of a blob that has a record,
	// and is empty if nothing is.
	BlobDamage(ctx context.Context, info content.Info) (string, error)
	// ChainDamage says for each snapshot of a chain, bottom first, what is wrong
	// with its folder, as far as it can be seen. All of them have records.
	ChainDamage(ctx context.Context, chain []digest.Digest) ([]string, error)
}

// Parts are containerd's own interfaces to a backend.
type Parts struct {
	Content     content.Store
	Images      images.Store
	Containers  containers.Store
	Leases      leases.Manager
	Snapshotter snapshots.Snapshotter
	// Applier unpacks the layers that this process does not write itself.
	Applier diff.Applier
	// Namespace and Name (of the snapshotter) as resolved from the options.
	Namespace string
	Name      string
	// Hasher is for everything that is hashed on the way into the store.
	Hasher *multibuffer.Hasher
}

// Traits are what a backend can do.
type Traits struct {
	// Applies reports whether the Applier can work at all. A daemon's diff
	// service may be switched off.
	Applies bool
	// AppliesHere reports whether the Applier works in this process.
	AppliesHere bool
	// Rebase reports whether a snapshot may get its parent at commit, so that
	// layers can be unpacked in any order.
	Rebase bool
	// TakesUsage reports whether a Commit believes WithUsage, and need not
	// count the files of the snapshot.
	TakesUsage bool
	// ReplacesStrays reports whether a blob that is committed replaces a file
	// of another size in its place. Otherwise such a file is taken for the blob.
	ReplacesStrays bool
	// Verifiers are those that the daemon asks before it pulls.
	Verifiers Verifiers
}
