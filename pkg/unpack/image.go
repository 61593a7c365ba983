package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/layer/erofs"
)

// What images hold in memory while they are made: those that are made side by side, and
// one that is made once more because that was not enough.
const (
	heldTogether = 64 << 20
	heldAlone    = 96 << 20
)

// applyTo applies r to what the snapshotter keeps of a layer: a folder, or an EROFS
// image. An image for which there is no memory is made once the layers below are
// complete: then r is only read.
func (l *layer) applyTo(ctx context.Context, r io.Reader, o lay.Options) (lay.Result, error) {
	switch {
	case !l.upper.Image:
		return lay.Apply(ctx, lay.Folder(l.upper.Dir), r, o)
	case isImage(l.desc):
		return lay.Result{}, l.copyImage(r, o.MaxBytes)
	case l.again:
		return l.applyToImage(ctx, r, o, erofs.NewBudget(heldAlone))
	}
	result, err := l.applyToImage(ctx, r, o, l.u.shared.held)
	if l.later = errors.Is(err, erofs.ErrHeld); l.later {
		return lay.Result{}, drain(io.Discard, r, o.MaxBytes)
	}
	return result, err
}

// copyImage takes a layer that is an image as it is. What it has in it is for the kernel
// to read.
func (l *layer) copyImage(r io.Reader, limit int64) error {
	file, err := l.upper.CreateImage()
	if err != nil {
		return err
	}
	if err = drain(file, r, limit); err == nil {
		_, err = erofs.Open(file)
	}
	if errdefs.IsNotImplemented(err) { // it is an image all the same
		err = nil
	}
	return errors.Join(err, file.Close())
}

func (l *layer) applyToImage(ctx context.Context, r io.Reader, o lay.Options, held *erofs.Budget) (lay.Result, error) {
	file, err := l.upper.CreateImage()
	if err != nil {
		return lay.Result{}, err
	}
	image := erofs.New(file, held)
	defer image.Discard()
	result, err := lay.Apply(ctx, image, r, o)
	if err == nil {
		err = image.Finish()
	}
	return result, errors.Join(err, file.Close())
}

// inheritFrom is Inherit for what the snapshotter keeps.
func (l *layer) inheritFrom(lowers []*os.File) error {
	readers, err := l.readers(lowers)
	if err != nil {
		return err
	}
	if !l.upper.Image {
		return lay.Inherit(lay.Folder(l.upper.Dir), readers, l.implicit)
	}
	file, err := l.upper.OpenImage()
	if err != nil {
		return err
	}
	made, err := erofs.Edit(file)
	if err == nil {
		err = lay.Inherit(made, readers, l.implicit)
	}
	return errors.Join(err, file.Close())
}

// readers are the trees of layers below.
func (l *layer) readers(lowers []*os.File) ([]lay.Reader, error) {
	if !l.upper.Image {
		return lay.Folders(lowers), nil
	}
	all := make([]lay.Reader, len(lowers))
	for i, file := range lowers {
		r, err := erofs.Open(file)
		if err != nil {
			return nil, l.damageBelow(i, err)
		}
		all[i] = r
	}
	return all, nil
}

// damageBelow names the snapshot, one of those below counted from the nearest, whose
// image cannot be opened.
func (l *layer) damageBelow(i int, err error) error {
	at := slices.Index(l.c.chainIDs, digest.Digest(l.chainID)) - 1 - i
	if at >= 0 {
		err = fmt.Errorf("snapshot %s below: %w", l.c.chainIDs[at], err)
	}
	if errdefs.IsDataLoss(err) {
		err = failure.New(errdefs.ErrDataLoss, "%w", err).WithHint("the snapshot is damaged, not the layer: containerd-pull verify --repair mends it")
	}
	return err
}

// belowError is that of a layer below. Whatever its class is, it says nothing about the
// blob that is being applied.
type belowError struct{ error }

// Unwrap returns the error itself.
func (e belowError) Unwrap() error { return e.error }
