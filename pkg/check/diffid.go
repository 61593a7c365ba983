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

// diffIDLabels checks the label with the diff ID of each layer that was unpacked. A layer that was not the one to be unpacked, because the snapshot
// came from the same files in another compression, has none.
func (w *walk) diffIDLabels(ctx context.Context, p *repairUnit) error {
	for i, name := range p.chain {
		v, want := p.verdicts[i], p.diffIDs[i]
		got := v.labels[labels.LabelUncompressed]
		if v.kind != "" || got == want.String() || got == "" && !(p.unpacked && w.hasSnapshot(name)) {
			continue
		}
		text := fmt.Sprintf("its label says diff ID %s, the config %s", got, want)
		if got == "" {
			twin, err := w.labelled(ctx, labels.LabelUncompressed, want.String(), p.layers[i].Digest)
			if err != nil {
				return err
			}
			if twin {
				continue
			}
			text = "no label tells its diff ID"
		}
		w.found(Finding{
			Kind: Label, Platform: p.platform, Digest: p.layers[i].Digest, Message: text,
			fix: repairOptions{stage: labelling, key: labels.LabelUncompressed, value: want.String(), desc: p.layers[i], diffID: want},
		})
	}
	return nil
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
