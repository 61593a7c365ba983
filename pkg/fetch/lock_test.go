package fetch_test

import (
	"io"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// TestHeldByOthers: an ingest that another client has open is waited for while
// that one gets on, and left to it when it does not.
func TestHeldByOthers(t *testing.T) {
	for name, getsOn := range map[string]bool{"gets on": true, "hangs": false} {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				b.options.StallTimeout = 300 * time.Millisecond
				other := pulltest.Must(b.store.Content.Writer(b.ctx, content.WithRef(remotes.MakeRefKey(b.ctx, b.blob.Desc)), content.WithDescriptor(b.blob.Desc)))(t)
				defer other.Close()
				held := 0
				if getsOn {
					const steps = 10
					held = size / 2 / steps * steps
					go func() {
						defer other.Close()
						for i := range steps {
							time.Sleep(100 * time.Millisecond)
							_, _ = other.Write(b.data[held/steps*i : held/steps*(i+1)])
						}
					}()
				}
				in := b.open()
				if got := in.Offset(); got != int64(held) {
					t.Errorf("got offset %d, want %d", got, held)
				}
				if err := in.Receive(b.ctx, io.Discard); err != nil {
					t.Fatal(err)
				}
				if err := in.Commit(b.ctx, nil); err != nil {
					t.Fatal(err)
				}
				b.stored()
				b.served(size-held, (size-held)*5/4)
				if got := b.count(progress.Warning); (got > 0) == getsOn {
					t.Errorf("got %d warnings", got)
				}
			})
		})
	}
}

func (b *bench) count(kind progress.Kind) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, e := range b.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}
