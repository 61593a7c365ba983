package store

import (
	"context"
	"time"
)

// grace is how long what must not stop half-way outlives a cancel.
const grace = time.Second

// Outlive returns a context that ends a second after ctx, or with end, which
// must be called: for what is short and must not stop half-way.
func Outlive(ctx context.Context) (longer context.Context, end func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}
