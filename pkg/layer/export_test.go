package layer

import (
	"context"
	"io"
)

// ApplyByWalking is Apply on a kernel without openat2.
func ApplyByWalking(ctx context.Context, root string, r io.Reader, o Options) (Result, error) {
	return apply(ctx, root, r, o, openTreeByWalking)
}

// MaxHandles is how many directories Apply keeps open.
const MaxHandles = maxHandles
