package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// files is a look at the files of the daemon's records.
type files struct {
	*daemon
	content *store.Place // of the blobs, nil if it is not known to be the one that this process sees
}

// Files implements store.Backend.
func (d *daemon) Files(ctx context.Context) store.Files {
	content, _ := d.Folders(ctx)
	return files{d, content}
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

// ChainDamage implements store.Files.
func (f files) ChainDamage(_ context.Context, chain []digest.Digest) ([]string, error) {
	return make([]string, len(chain)), nil
}

// Refill implements store.Backend.
func (d *daemon) Refill(context.Context, string, string, *store.Upper) error {
	return failure.New(errdefs.ErrDataLoss, "containerd's snapshotter has lost it, and something is on top of it").
		WithHint("remove the containers on top of it (ctr containers rm, ctr snapshots rm) and pull again; if root_path of the snapshotter was changed, change it back")
}

// Drop implements store.Backend. The file goes with the collection that follows,
// unless another namespace has a record of it.
func (d *daemon) Drop(ctx context.Context, dgst digest.Digest) error {
	if other, err := d.otherNamespace(ctx, dgst); err != nil || other != "" {
		return errors.Join(err, keptBy(other, dgst))
	}
	if err := d.parts.Content.Delete(ctx, dgst); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return d.Collect(ctx, store.GarbageNow)
}

// keptBy is the error of a file that containerd will not remove.
func keptBy(namespace string, dgst digest.Digest) error {
	if namespace == "" {
		return nil
	}
	return failure.New(errdefs.ErrDataLoss, "namespace %s has it as well, so containerd would keep the file", namespace).
		WithHint("remove it there, with ctr -n %s content rm %s, then pull again", namespace, dgst)
}

// otherNamespace names a namespace other than the store's that has a record of the
// blob, "" if none has.
func (d *daemon) otherNamespace(ctx context.Context, dgst digest.Digest) (string, error) {
	all, err := d.client.NamespaceService().List(ctx)
	if err != nil {
		return "", fmt.Errorf("listing namespaces: %w", err)
	}
	for _, ns := range all {
		if ns == d.parts.Namespace {
			continue
		}
		switch _, err := d.parts.Content.Info(namespaces.WithNamespace(ctx, ns), dgst); {
		case err == nil:
			return ns, nil
		case !errdefs.IsNotFound(err):
			return "", fmt.Errorf("looking for %s in namespace %s: %w", dgst, ns, err)
		}
	}
	return "", nil
}
