package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
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

// lost is a content store that has lost an ingest and kept its lock, as a daemon
// does that had no room to note the ingest.
type lost struct {
	content.Store
	ref string
}

func (s *lost) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if o.Ref == s.ref {
		return nil, fmt.Errorf("ref %s locked: %w", o.Ref, errdefs.ErrUnavailable)
	}
	return s.Store.Writer(ctx, opts...)
}

// TestLostLock begins another ingest long before the stall time-out.
func TestLostLock(t *testing.T) {
	brings := map[string]func(b *bench, f *fetch.Fetcher) error{
		"store": func(b *bench, f *fetch.Fetcher) error {
			_, err := f.Store(b.ctx, b.blob, nil)
			return err
		},
		"put": func(b *bench, f *fetch.Fetcher) error { return f.Put(b.ctx, b.blob, b.data, nil) },
	}
	for name, bring := range brings {
		t.Run(name, func(t *testing.T) {
			each(t, 1000, func(t *testing.T, b *bench) {
				b.options.StallTimeout = time.Hour
				ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
				defer cancel()
				b.ctx = ctx
				if err := bring(b, b.fetcherInto(&lost{b.store.Content, remotes.MakeRefKey(b.ctx, b.blob.Desc)})); err != nil {
					t.Fatal(err)
				}
				b.stored()
				if got := b.count(progress.Warning); got != 1 {
					t.Errorf("got %d warnings, want one", got)
				}
			})
		})
	}
}

// TestPut stores bytes that are in hand whatever was left in the ingest, with
// labels, and adds labels to those that are there.
func TestPut(t *testing.T) {
	for name, leave := range map[string]func(data []byte) []byte{
		"nothing left":   func([]byte) []byte { return nil },
		"half of it":     func(data []byte) []byte { return data[:len(data)/2] },
		"all of it":      func(data []byte) []byte { return data },
		"something else": func([]byte) []byte { return []byte("something else") },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, 1000, func(t *testing.T, b *bench) {
				left := pulltest.Must(b.store.Content.Writer(b.ctx, content.WithRef(remotes.MakeRefKey(b.ctx, b.blob.Desc)), content.WithDescriptor(b.blob.Desc)))(t)
				if _, err := left.Write(leave(b.data)); err != nil {
					t.Fatal(err)
				}
				if err := left.Close(); err != nil {
					t.Fatal(err)
				}
				for _, label := range []string{"first", "second"} {
					if err := b.fetcher().Put(b.ctx, b.blob, b.data, map[string]string{label: "yes"}); err != nil {
						t.Fatal(err)
					}
					b.stored()
				}
				info, err := b.store.Content.Info(b.ctx, b.blob.Desc.Digest)
				if diff := cmp.Diff(map[string]string{"first": "yes", "second": "yes"}, info.Labels); err != nil || diff != "" {
					t.Errorf("got error %v and labels (-want +got):\n%s", err, diff)
				}
				b.served(0, 0)
			})
		})
	}
}

// interloper is a content store of which another client opens an ingest when it
// is whole, before its writer does for the second time.
type interloper struct {
	content.Store
	whole int64
	does  func(content.Writer) error // once
	errs  chan error
}

func (s *interloper) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if err != nil || s.does == nil {
		return w, err
	}
	return &interrupted{w, s, func() (content.Writer, error) { return s.Store.Writer(ctx, opts...) }}, nil
}

type interrupted struct {
	content.Writer
	by    *interloper
	other func() (content.Writer, error)
}

func (w *interrupted) Write(p []byte) (int, error) {
	w.by.whole -= int64(len(p))
	return w.Writer.Write(p)
}

func (w *interrupted) Status() (content.Status, error) {
	if w.by.whole > 0 {
		return w.Writer.Status()
	}
	does := w.by.does
	w.by.does = nil
	if err := w.Close(); err != nil {
		return content.Status{}, err
	}
	other, err := w.other()
	if err != nil {
		return content.Status{}, err
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		w.by.errs <- errors.Join(does(other), other.Close())
	}()
	_, err = w.other()
	return content.Status{}, err
}

// TestTakenAtTheEnd: a writer in place lets go of the ingest for a moment when it
// is whole. Whoever opens it then may commit it, or not.
func TestTakenAtTheEnd(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for name, commits := range map[string]bool{"lets go": false, "commits": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inPlace(t, size)
			taken := &interloper{b.store.Content, size, func(w content.Writer) error {
				if commits {
					return w.Commit(b.ctx, b.blob.Desc.Size, b.blob.Desc.Digest)
				}
				return nil
			}, make(chan error, 1)}
			in := pulltest.Must(fetch.New(pulltest.Must(registry.New(b.options))(t), taken, func(progress.Event) {}).Open(b.ctx, b.blob))(t)
			if err := in.Receive(b.ctx, io.Discard); err != nil {
				t.Fatal(err)
			}
			if !in.Verified() {
				t.Error("got bytes that are not verified")
			}
			if err := errors.Join(in.Commit(b.ctx, map[string]string{"a": "b"}), in.Close(), <-taken.errs); err != nil {
				t.Fatal(err)
			}
			b.stored()
			b.served(size, size)
			if info, err := b.store.Content.Info(b.ctx, b.blob.Desc.Digest); err != nil || info.Labels["a"] != "b" {
				t.Errorf("got %+v and %v, want the label", info, err)
			}
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
