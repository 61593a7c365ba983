package named

import (
	"context"
	"io"
	"slices"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/source/list"
)

// checkStdin refuses to read the standard input twice.
func (f *finder) checkStdin() error {
	uses := 0
	for _, path := range slices.Concat(f.Lists.Files, f.Lists.From) {
		if path == list.Stdin {
			uses++
		}
	}
	switch {
	case uses > 1:
		return exit.Usagef("the standard input can be read once, and %d flags name it", uses)
	case uses > 0 && f.Lists.Password:
		return exit.Usagef("--password-stdin and a list on the standard input exclude each other")
	}
	return nil
}

// readStdin reads at most one byte more than most. The end of ctx ends the waiting for
// input; the read that is abandoned then ends with the process.
func (f *finder) readStdin(ctx context.Context, most int64) ([]byte, error) {
	type answer struct {
		data []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(f.Stdin, most+1))
		answers <- answer{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case a := <-answers:
		f.stdin = slices.Concat([]byte{}, a.data)
		return a.data, a.err
	}
}
