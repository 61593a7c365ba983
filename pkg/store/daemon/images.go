package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// trialSize is that of the file that stands for an image: a block.
const trialSize = 4096

// trialTime bounds what must happen after a cancel.
const trialTime = 5 * time.Second

// takesImages is nil if the daemon's snapshotter erofs, whose folder is root, takes a
// file beside what it prepares for the image of a layer, and then shows that file. It
// tries it with a snapshot of its own: other versions may keep images elsewhere, and a
// configuration may want more of them than that they are there, dm-verity for example.
// left is what could not be removed afterwards, which ends with the lease of ctx.
func takesImages(ctx context.Context, sn snapshots.Snapshotter, root *os.File) (left, err error) {
	if name, err := store.VerityData(root); name != "" || err != nil {
		return nil, cmp.Or(err, fmt.Errorf("%s says that images have dm-verity data here, which the client does not make", name))
	}
	name := store.ActivePrefix + "trial-" + rand.Text()[:12]
	key, view := name+" active", name+" view"
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), trialTime)
		defer cancel()
		for _, made := range []string{view, name, key} {
			if gone := sn.Remove(ctx, made); !errdefs.IsNotFound(gone) {
				left = errors.Join(left, gone)
			}
		}
	}()
	mounts, err := sn.Prepare(ctx, key, "")
	if err != nil {
		return left, fmt.Errorf("trying an image: %w", err)
	}
	made, err := putImage(root, mounts)
	if err != nil {
		return left, err
	}
	if err := sn.Commit(ctx, name, key); err != nil {
		return left, fmt.Errorf("containerd does not take an image for a layer: %w", err)
	}
	if mounts, err = sn.View(ctx, view, name); err != nil {
		return left, fmt.Errorf("containerd does not show an image that it took: %w", err)
	}
	return left, shows(root, mounts, made)
}

// putImage gives a prepared snapshot what stands for its image.
func putImage(root *os.File, mounts []mount.Mount) (os.FileInfo, error) {
	u, err := store.OpenUpper(root, store.Erofs, mounts)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	if u.Dir == nil {
		return nil, errors.New("containerd prepares a snapshot for reading only")
	}
	file, err := u.CreateImage()
	if err != nil {
		return nil, err
	}
	_, err = file.Write(make([]byte, trialSize))
	made, failed := file.Stat()
	return made, errors.Join(err, failed, file.Close(), u.FinishImage())
}

// shows is nil if the mounts of a view are of that image.
func shows(root *os.File, mounts []mount.Mount, made os.FileInfo) error {
	u, err := store.OpenUpper(root, store.Erofs, mounts)
	if err != nil {
		return err
	}
	defer u.Close()
	images, err := u.Lowers()
	if err != nil {
		return err
	}
	defer store.CloseAll(images)
	if len(images) == 1 && images[0] != nil {
		if shown, err := images[0].Stat(); err != nil || os.SameFile(made, shown) {
			return err
		}
	}
	return errors.New("containerd shows another image than the one that it took")
}
