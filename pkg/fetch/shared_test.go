package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestFailureOfOthers says for whom the failure of a blob holds, too.
func TestFailureOfOthers(t *testing.T) {
	blob := func(name string) fetch.Blob {
		ref, err := source.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		return fetch.Blob{Ref: ref, Desc: ocispec.Descriptor{Digest: digest.FromString("layer"), Size: 5}}
	}
	const same, otherPath, otherHost = "one.example/team/app:2", "one.example/team/other:1", "two.example/team/app:1"
	of := func(class error) error { return &source.Error{Host: "one.example", Err: class} }
	answer := func(class error) error { return &source.Error{Host: "one.example", Err: class, Status: 503} }
	for name, c := range map[string]struct {
		err   error
		holds []string
	}{
		"not there":        {of(errdefs.ErrNotFound), []string{same}},
		"refused":          {of(errdefs.ErrPermissionDenied), []string{same}},
		"away":             {of(errdefs.ErrUnavailable), []string{same, otherPath}},
		"out of order":     {answer(errdefs.ErrUnavailable), []string{same}},
		"asked too often":  {of(errdefs.ErrResourceExhausted), []string{same, otherPath}},
		"wrong bytes":      {fetch.ErrCorrupt, []string{same}},
		"of this computer": {errors.New("disk full"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := fetch.NewShared()
			ended, end := context.WithCancel(t.Context())
			end()
			s.Fail(ended, blob(same), c.err) // says nothing
			for _, fails := range []bool{false, true} {
				if fails {
					s.Fail(t.Context(), blob("one.example/team/app:1"), fmt.Errorf("fetching: %w", c.err))
				}
				for _, ref := range []string{same, otherPath, otherHost} {
					unlock, err := s.Lock(t.Context(), blob(ref))
					holds := false
					for _, other := range c.holds {
						holds = holds || fails && ref == other
					}
					if holds != errors.Is(err, c.err) || holds != (unlock == nil) {
						t.Errorf("%s, after the failure %v: got %v, want the failure %v", ref, fails, err, holds)
					}
					if unlock != nil {
						unlock()
					}
				}
			}
		})
	}
}

// TestLocks: one holds a lock, others wait, and may give up.
func TestLocks(t *testing.T) {
	var l fetch.Locks
	unlock := l.TryLock("a")
	if unlock == nil || l.TryLock("a") != nil {
		t.Fatal("got a lock twice or never")
	}
	enough := errors.New("enough")
	ctx, end := context.WithCancelCause(t.Context())
	end(enough)
	if _, err := l.Lock(ctx, "a"); !errors.Is(err, enough) {
		t.Errorf("got %v from a lock that is held, want the cause of the end", err)
	}
	other, err := l.Lock(ctx, "b")
	if err != nil {
		t.Errorf("got %v from a lock that is free", err)
	}
	other()
	got := make(chan error)
	for range 3 {
		go func() {
			unlock, err := l.Lock(t.Context(), "a")
			if err == nil {
				defer unlock()
			}
			got <- err
		}()
	}
	unlock()
	unlock() // again does nothing
	for range 3 {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
}
