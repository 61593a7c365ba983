package pull

import (
	"context"
	"errors"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// restarts is how often a daemon may go away in one stage of a pull.
const restarts = 5

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
	return failure.New(store.ErrUnavailable, "containerd went away: %w", err)
}
