package fetch

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
)

// Put stores b, whose bytes are body, unless the store has it. In either case the
// blob gets those labels of set that it lacks.
func (f *Fetcher) Put(ctx context.Context, b Blob, body []byte, set map[string]string) error {
	in, err := f.Open(ctx, b)
	if err == nil {
		err = errors.Join(in.put(ctx, body, set), in.Close())
	}
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	return f.Label(ctx, b.Desc.Digest, set)
}

// put goes on with what the ingest holds, which may be all: a store may have the
// bytes of other namespaces and of pulls that were killed. Wrong bytes are
// dropped, once.
func (in *Ingest) put(ctx context.Context, body []byte, set map[string]string) error {
	for {
		held := in.offset > 0
		if err := in.write(body[min(in.offset, int64(len(body))):]); err != nil {
			return err
		}
		err := in.Commit(ctx, set)
		if !held || !errors.Is(err, ErrCorrupt) || in.w == nil || in.offset > 0 {
			return err
		}
	}
}
