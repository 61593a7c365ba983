package fetch_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
)

// TestHeldByOthers: an ingest that another client has open is waited for while
// that one gets on, and left to it when it does not.
func TestHeldByOthers(t *testing.T) {
	for name, getsOn := range map[string]bool{"gets on": true, "hangs": false} {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				b.options.StallTimeout = 300 * time.Millisecond
				other := pulltest.Must(b.store.Content.Writer(b.ctx, content.WithRef(remotes.MakeRefKey(b.ctx, b.blob.Desc)), content.WithDescriptor(b.blob.Desc)))(t)
				held := 0
				var writing errgroup.Group
				if getsOn {
					const steps = 10
					held = size / 2 / steps * steps
					writing.Go(func() error {
						defer other.Close()
						for i := range steps {
							time.Sleep(100 * time.Millisecond)
							if _, err := other.Write(b.data[held/steps*i : held/steps*(i+1)]); err != nil {
								return err
							}
						}
						return nil
					})
				}
				defer func() {
					if err := errors.Join(writing.Wait(), other.Close()); err != nil {
						t.Error(err)
					}
				}()
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

// interloper is a content store of which another client opens each ingest just
// before it is committed, and then does something with it.
type interloper struct {
	content.Store
	does func(content.Writer) error
	errs chan error
}

func (s *interloper) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if err != nil || s.does == nil {
		return w, err
	}
	return &interrupted{w, s, opts}, nil
}

type interrupted struct {
	content.Writer
	by   *interloper
	opts []content.WriterOpt
}

func (w *interrupted) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	does := w.by.does
	w.by.does = nil
	if err := w.Close(); err != nil {
		return err
	}
	other, err := w.by.Store.Writer(ctx, w.opts...)
	if err != nil {
		return err
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		w.by.errs <- errors.Join(does(other), other.Close())
	}()
	return w.Writer.Commit(ctx, size, expected, opts...)
}

// TestTakenAtTheEnd: a writer in place lets go of the ingest for a moment before
// it commits. Whoever opens it then finds it whole.
func TestTakenAtTheEnd(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for name, commits := range map[string]bool{"lets go": false, "commits": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inPlace(t, size)
			taken := &interloper{b.store.Content, func(w content.Writer) error {
				if commits {
					return w.Commit(b.ctx, b.blob.Desc.Size, b.blob.Desc.Digest)
				}
				return nil
			}, make(chan error, 1)}
			in := pulltest.Must(fetch.New(pulltest.Must(registry.New(b.options))(t), taken, func(progress.Event) {}).Open(b.ctx, b.blob))(t)
			if err := in.Receive(b.ctx, io.Discard); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(in.Commit(b.ctx, nil), in.Close(), <-taken.errs); err != nil {
				t.Fatal(err)
			}
			b.stored()
			b.served(size, size)
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
