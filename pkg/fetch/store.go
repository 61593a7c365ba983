package fetch

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

const (
	bufferSize = 512 << 10
	// rounds is how often a blob is fetched from its first byte before wrong
	// bytes are taken for the registry's last word. registry.Blame makes each
	// round start with another host.
	rounds = 4
)

// Store fetches b unless the store has it, and commits it with labels. It
// returns the number of bytes that came over the network.
func (f *Fetcher) Store(ctx context.Context, b Blob, labels map[string]string) (int64, error) {
	in, err := f.Open(ctx, b)
	if errdefs.IsAlreadyExists(err) {
		f.Present(b)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for round := 1; ; round++ {
		if err = in.Receive(ctx, io.Discard); err == nil {
			err = in.Commit(ctx, labels)
		}
		if !errors.Is(err, ErrCorrupt) || round == rounds {
			return in.came, errors.Join(err, in.Close())
		}
	}
}

// Present reports that b is in the store already.
func (f *Fetcher) Present(b Blob) {
	f.Progress.Emit(b.event(progress.Present))
}

func (f *Fetcher) buffer() *[bufferSize]byte {
	if buf, ok := f.buffers.Get().(*[bufferSize]byte); ok {
		return buf
	}
	return new([bufferSize]byte)
}
