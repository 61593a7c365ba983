package check

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// diffIDLabels checks the labels with the diff IDs of layers. A layer without one
// lacks nothing that is needed: another client may have fetched it again after it
// was discarded, and its snapshot is there or can be made.
func (w *walk) diffIDLabels(p *repairUnit) {
	for i := range p.chain {
		v, want := p.verdicts[i], p.diffIDs[i]
		got := v.labels[labels.LabelUncompressed]
		if v.kind != "" || got == "" || got == want.String() {
			continue
		}
		w.found(Finding{
			Kind: Label, Platform: p.platform, Digest: p.layers[i].Digest, Message: fmt.Sprintf("its label says diff ID %s, the config %s", got, want),
			fix: repairOptions{stage: labelling, key: labels.LabelUncompressed, value: want.String(), desc: p.layers[i], diffID: want},
		})
	}
}

// proveDiffID unpacks a layer to nowhere and compares its diff ID.
func proveDiffID(ctx context.Context, store content.Provider, desc ocispec.Descriptor, want digest.Digest) (err error) {
	plain, err := openLayer(ctx, store, desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	sum := want.Algorithm().Digester()
	if _, err := io.Copy(sum.Hash(), plain); err != nil {
		return fmt.Errorf("reading layer %s: %w", desc.Digest, err)
	}
	if got := sum.Digest(); got != want {
		return fmt.Errorf("layer %s has diff ID %s", desc.Digest, got)
	}
	return nil
}

// openLayer reads what the layer holds, decompressed.
func openLayer(ctx context.Context, store content.Provider, desc ocispec.Descriptor) (io.ReadCloser, error) {
	ra, err := store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", desc.Digest, err)
	}
	plain, err := unpack.Open(contextReader{ctx, content.NewReader(ra)})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading layer %s: %w", desc.Digest, err), ra.Close())
	}
	return &openedLayer{plain, ra}, nil
}

type openedLayer struct {
	io.ReadCloser
	blob io.Closer
}

// Close implements io.Closer.
func (o *openedLayer) Close() error { return errors.Join(o.ReadCloser.Close(), o.blob.Close()) }

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
