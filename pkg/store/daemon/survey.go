package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
	"github.com/containerd-pull/containerd-pull/pkg/store/snapshotdir"
)

// files is a look at the files of the daemon's records. The folders are nil where
// they are not known to be those that this process sees.
type files struct {
	*daemon
	content, snapshots *store.Place
	// numbers are those of snapshots, read once for all chains.
	numbers func() (numbers, error)
}

// Files implements store.Backend.
func (d *daemon) Files(ctx context.Context) store.Files {
	content, snapshots := d.Folders(ctx)
	f := files{daemon: d, content: content, snapshots: snapshots}
	f.numbers = sync.OnceValues(f.readNumbers)
	return f
}

// BlobDamage implements store.Files. Where the files cannot be seen, the daemon
// reads the last byte.
func (f files) BlobDamage(ctx context.Context, info content.Info) (string, error) {
	if f.content != nil {
		return contentdir.Damage(f.content.Dir, f.content.Rest, info.Digest, info.Size)
	}
	return f.readLast(ctx, info)
}

// readLast asks the daemon for the last byte of a blob: it answers what the record
// says of the size, but reads the file.
func (d *daemon) readLast(ctx context.Context, info content.Info) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := d.blobs.Read(ctx, &contentapi.ReadContentRequest{Digest: info.Digest.String(), Offset: max(info.Size-1, 0), Size: 1})
	n := 0
	for err == nil {
		var part *contentapi.ReadContentResponse
		if part, err = stream.Recv(); err == nil {
			n += len(part.Data)
		}
	}
	switch native := errgrpc.ToNative(err); {
	case errors.Is(err, io.EOF) && int64(n) == min(info.Size, 1):
		return "", nil
	case errors.Is(err, io.EOF):
		return fmt.Sprintf("its file has less than %d bytes", info.Size), nil
	case errdefs.IsNotFound(native):
		return "its file is gone", nil
	case errdefs.IsUnknown(native), errdefs.IsInternal(native):
		return "its file cannot be read: " + native.Error(), nil
	default:
		return "", fmt.Errorf("looking at blob %s: %w", info.Digest, native)
	}
}

// ChainDamage implements store.Files. The API does not say where the files of a
// snapshot are, so that the snapshotter's database is read; where that cannot be,
// nothing is said.
func (f files) ChainDamage(_ context.Context, chain []digest.Digest) ([]string, error) {
	if len(chain) == 0 || f.snapshots == nil || f.snapshots.Rest != "" || !keepsFiles(f.parts.Name) {
		return make([]string, len(chain)), nil
	}
	damage, err := f.look(chain, f.numbers)
	if err != nil || slices.Max(damage) == "" {
		return damage, err
	}
	again, err := f.look(chain, f.readNumbers) // it may have been removed and made anew meanwhile
	for i, what := range again {
		damage[i] = min(damage[i], what)
	}
	return damage, err
}

func (f files) readNumbers() (numbers, error) {
	return readNumbers(f.snapshots.Dir, f.parts.Namespace)
}

// look looks at the folders of snapshots whose numbers can be read.
func (f files) look(chain []digest.Digest, read func() (numbers, error)) ([]string, error) {
	damage := make([]string, len(chain))
	all, err := read()
	if err != nil {
		log.L.Debugf("the folders of snapshots cannot be looked at: %v", err)
		return damage, nil
	}
	for i, name := range chain {
		of, ok := all[name.String()]
		if !ok {
			continue
		}
		folder := snapshotdir.Folder(f.parts.Name, snapshotdir.Format(of.ID))
		switch {
		case f.parts.Name != store.Erofs:
			damage[i], err = store.FolderDamage(f.snapshots.Dir, folder, of.Inodes)
		case !of.Cached:
			damage[i], err = store.ImageDamage(f.snapshots.Dir, folder)
		}
		if err != nil {
			return nil, err
		}
	}
	return damage, nil
}

// keepsFiles reports whether it is known where the snapshotter keeps the files of
// snapshots.
func keepsFiles(snapshotter string) bool {
	return slices.Contains([]string{store.Overlayfs, store.Native, store.Erofs}, snapshotter)
}

// Refill implements store.Backend.
func (d *daemon) Refill(_ context.Context, name, _ string, u *store.Upper) error {
	site := d.traits.Load().site
	dir, err := site.folder(site.snapshots)
	if err != nil {
		return err
	}
	all, err := readNumbers(dir, d.parts.Namespace)
	if err != nil {
		return err
	}
	of, ok := all[name]
	if !ok {
		return failure.New(errdefs.ErrDataLoss, "containerd's snapshotter has lost it, and something is on top of it").
			WithHint("remove the containers on top of it (ctr containers rm, ctr snapshots rm) and pull again; if root_path of the snapshotter was changed, change it back")
	}
	return u.Move(snapshotdir.Folder(d.parts.Name, snapshotdir.Format(of.ID)))
}
