package pull

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

const (
	// restarts is how often a daemon may go away in one stage of a pull.
	restarts = 5
	// rounds is how often what others removed is brought again.
	rounds = 3
)

// endure does work on a daemon that answers. When the daemon goes away in the
// middle and comes back in time, the work is done over again: it must find what
// it left. The context that work gets ends with the daemon.
func endure[T any](ctx context.Context, p *Puller, stage Stage, ref source.Ref, work func(context.Context) (T, error)) (T, error) {
	var none T
	for again := 0; ; again++ {
		attached, end, err := p.Store.Attach(ctx)
		if err != nil {
			return none, p.fail(ctx, stage, ref, err)
		}
		done, err := work(attached)
		lost := err != nil && p.Store.Disconnected(attached)
		end()
		switch {
		case err == nil:
			return done, nil
		case !lost:
			return none, err
		case again == restarts:
			return none, asUnavailable(err)
		}
		p.warn(ref, "containerd went away; going on as soon as it is back")
	}
}

// asUnavailable gives a call that failed with the daemon its class.
func asUnavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// vanished tells that something is not in the store any more that was there, or
// that we put there: somebody removes what a pull is about to use. What a
// registry does not have is another matter.
func vanished(err error) bool {
	return errdefs.IsNotFound(err) && !errors.As(err, new(*source.Error))
}
