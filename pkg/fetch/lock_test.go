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

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// watched is a content store that calls look before each question for the status
// of an ingest, with the number of questions so far.
type watched struct {
	content.Store
	look  func(n int) error
	looks int
}

func (s *watched) Status(ctx context.Context, ref string) (content.Status, error) {
	s.looks++
	if err := s.look(s.looks); err != nil {
		return content.Status{}, err
	}
	return s.Store.Status(ctx, ref)
}

// impatient is a source whose timeouts soon end the wait for an idle client.
type impatient struct{ source.Source }

func (impatient) StallTimeout() time.Duration { return 10 * time.Millisecond }

// TestHeldByOthers: an ingest that another client has open is waited for while
// that one gets on, and left to it when it does not. Between two looks at it more
// time passes than it may be idle.
func TestHeldByOthers(t *testing.T) {
	const portion = size / 8
	for name, writes := range map[string]int{"gets on": 3, "hangs": 0} {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				other := b.ingest()
				held := portion * writes
				store := &watched{Store: b.store.Content, look: func(n int) (err error) {
					if n <= writes {
						_, written := other.Write(b.data[portion*(n-1) : portion*n])
						_, seen := other.Status() // returns when the store has the bytes
						err = errors.Join(written, seen)
					}
					if n == writes {
						err = errors.Join(err, other.Close())
					}
					time.Sleep(25 * time.Millisecond) // longer than it may be idle
					return err
				}}
				in, err := fetch.New(impatient{b.source()}, store, b.emit).Open(b.ctx, b.blob)
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := errors.Join(in.Close(), other.Close()); err != nil {
						t.Error(err)
					}
				}()
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
				if got := b.count(progress.Warning); (got > 0) == (writes > 0) {
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
	ways := map[string]func(b *bench, f *fetch.Fetcher) error{
		"store": func(b *bench, f *fetch.Fetcher) error {
			_, err := f.Store(b.ctx, b.blob, nil)
			return err
		},
		"put": func(b *bench, f *fetch.Fetcher) error { return f.Put(b.ctx, b.blob, b.data, nil) },
	}
	for name, bring := range ways {
		t.Run(name, func(t *testing.T) {
			each(t, 1000, func(t *testing.T, b *bench) {
				b.options.StallTimeout = time.Hour
				ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
				defer cancel()
				b.ctx = ctx
				f := b.fetcherInto(&lost{b.store.Content, remotes.MakeRefKey(b.ctx, b.blob.Desc)})
				f.LoseLocksAfter(50 * time.Millisecond)
				if err := bring(b, f); err != nil {
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

// interloper is a content store of which another client opens an ingest when it
// is whole, before its writer does for the second time. That client is done when
// the writer has been refused once.
type interloper struct {
	content.Store
	whole   int64
	does    func(content.Writer) error // once
	refused chan struct{}
	errs    chan error
}

func (s *interloper) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if errdefs.IsUnavailable(err) && s.refused != nil {
		close(s.refused)
		s.refused = nil
	}
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
	refused := w.by.refused
	go func() {
		<-refused
		w.by.errs <- errors.Join(does(other), other.Close())
	}()
	_, err = w.other()
	return content.Status{}, err
}

// TestTakenAtTheEnd: a writer in place closes the ingest for a moment when it is
// whole. A client that opens it then may commit it, or not.
func TestTakenAtTheEnd(t *testing.T) {
	for name, commits := range map[string]bool{"lets go": false, "commits": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inPlace(t, size)
			taken := &interloper{b.store.Content, size, func(w content.Writer) error {
				if commits {
					return w.Commit(b.ctx, b.blob.Desc.Size, b.blob.Desc.Digest)
				}
				return nil
			}, make(chan struct{}), make(chan error, 1)}
			in, err := b.fetcherInto(taken).Open(b.ctx, b.blob)
			if err != nil {
				t.Fatal(err)
			}
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
