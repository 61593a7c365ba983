package unpack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/trace"
	"time"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

// stream is the fused way of a layer: while in receives and stores the blob, its
// bytes are inflated and applied. When both agree with the manifest and the
// config the blob is committed, with its diff ID, and beside it the snapshot:
// either waits for the disk.
func (l *layer) stream(ctx context.Context, in *fetch.Ingest) error {
	file := in.Follow()
	var received error
	receive := func(ctx context.Context, to pipeline.Input) error {
		defer trace.StartRegion(ctx, "fetch").End()
		start := time.Now()
		received = in.Receive(ctx, to)
		l.phase(progress.Fetch, time.Since(start)-to.Idle(), in.Fetched())
		if file != nil { // otherwise what has arrived takes memory
			l.releaseDownload()
		}
		return received
	}
	if err := l.u.shared.pipeline.Connect(ctx, file, receive, l.pour); err != nil {
		return l.streamError(in, received, err)
	}
	set := maps.Clone(l.img.Source.Labels)
	if set == nil {
		set = map[string]string{}
	}
	set[labels.LabelUncompressed] = l.diffID.String()
	if in.Verified() {
		l.markReady()
	}
	return in.Commit(ctx, set)
}

// streamError returns which of the errors of a stream is the cause. One side
// gets the other's: what was received wrong is why it could not be applied,
// except where the applier made the receiver stop. If the blob was not verified
// yet its bytes may have been wrong, which only the rest can tell.
func (l *layer) streamError(in *fetch.Ingest, received, err error) error {
	if errors.Is(received, fetch.ErrCorrupt) || errors.Is(received, fetch.ErrUnserved) {
		return received
	}
	if _, below := errors.AsType[belowError](err); below {
		return err
	}
	if !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) || in.Verified() {
		return err
	}
	return fmt.Errorf("%w: %w", fetch.ErrCorrupt, err)
}

// pour inflates and applies what src delivers, and checks the diff ID over all
// of it, what follows the end of the archive included.
func (l *layer) pour(ctx context.Context, src io.Reader) error {
	leave, err := l.u.shared.pipeline.Enter(ctx, l.desc.Size)
	if err != nil {
		return err
	}
	defer leave()
	of := pipeline.Layer{Load: l.load, Algorithm: l.diffID.Algorithm(), Phase: l.phase}
	if l.isReported() {
		l.u.emit.Emit(l.event(progress.UnpackStart))
		of.Progress = l.unpackProgress
	}
	var size int64
	got, err := l.u.shared.pipeline.Run(src, of, func(plain *pipeline.Plain) error {
		err := l.consume(ctx, plain)
		size = plain.Count()
		return err
	})
	if err != nil {
		return fmt.Errorf("applying layer %s: %w", l.desc.Digest, err)
	}
	if got != l.diffID {
		return l.wrongDiffID(got)
	}
	l.applied(size)
	return nil
}

// consume applies plain, or only reads it where the snapshot exists.
func (l *layer) consume(ctx context.Context, plain *pipeline.Plain) error {
	defer trace.StartRegion(ctx, "apply").End()
	bound := l.u.bounds.of(l.desc.Size)
	if l.blobOnly {
		return bound.explain(drain(io.Discard, plain, bound.bytes))
	}
	o := l.applyOptions(bound)
	lowers, err := l.lowers(ctx)
	defer store.CloseAll(lowers)
	if err == nil {
		o.Lowers, err = l.readers(lowers)
	}
	if err != nil {
		return belowError{err}
	}
	result, err := l.applyTo(ctx, l.u.guard.Reader(plain), o)
	l.phase(progress.Apply, plain.Busy(), plain.Count())
	l.implicit, l.marked, l.usage = result.Implicit, result.Marked, result.Usage
	l.warn(result.Warnings)
	return bound.explain(err)
}

// drain writes r to w to its end, and at most limit bytes of it if that is not 0.
func drain(w io.Writer, r io.Reader, limit int64) error {
	if limit == 0 {
		_, err := io.Copy(w, r)
		return err
	}
	_, err := io.CopyN(w, r, limit+1)
	if err == io.EOF {
		return nil
	}
	return cmp.Or(err, lay.ErrLimit)
}

func (l *layer) unpackProgress(n int64) {
	e := l.event(progress.UnpackProgress)
	e.Bytes.Done, e.Consumed = n, l.load.Read()
	l.u.emit.Emit(e)
}

// warn reports what of the layer this system cannot hold; one line stands for
// all, since an attribute that is refused once is refused for every file.
func (l *layer) warn(all []string) {
	if len(all) == 0 || !l.isReported() {
		return
	}
	e := l.event(progress.Warning)
	e.Message = fmt.Sprintf("applying layer %s: %s", l.desc.Digest, all[0])
	if len(all) > 1 {
		e.Message += fmt.Sprintf(" (and %d more like it)", len(all)-1)
	}
	l.u.emit.Emit(e)
}

// applyOptions: layers above the first become overlay's whiteouts, also those
// that were prepared as a bare folder to get their parent later. Everything
// else is applied in place.
func (l *layer) applyOptions(b bound) lay.Options {
	o := lay.Options{Whiteouts: lay.InPlace, MaxBytes: b.bytes, UserXattr: l.userXattr || l.upper.UserXattr}
	if l.upper.Overlay || l.preparent != l.parent {
		o.Whiteouts = lay.Overlay
	}
	return o
}

// Open returns what a layer holds, for callers that read one without unpacking
// it: inflated if its first bytes say that it is compressed. Errors of decoders
// are those of a malformed layer, errdefs.ErrInvalidArgument.
func Open(src io.Reader) (io.ReadCloser, error) { return pipeline.Open(src) }
