package daemon

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// probeTime bounds the question whether a daemon is still the same one.
const probeTime = time.Second

// Attach implements store.Backend.
func (d *daemon) Attach(ctx context.Context) (attached context.Context, end func(), err error) {
	dial, err := d.resolve(ctx)
	if err != nil {
		return nil, nil, err
	}
	attached, end = d.watch(ctx, dial)
	return attached, end, nil
}

// Disconnected implements store.Backend.
func (d *daemon) Disconnected(ctx context.Context) bool {
	at, ok := ctx.Value(attachmentKey{}).(*attachment)
	if !ok {
		return false
	}
	if cause := context.Cause(ctx); cause != nil {
		return errors.Is(cause, store.ErrUnavailable)
	}
	probe, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	_, err := d.version(probe)
	slow := errdefs.IsDeadlineExceeded(err) || errors.Is(err, context.DeadlineExceeded)
	if (err == nil || slow) && d.dials.Load() == at.dial {
		return false
	}
	at.lose(d.lost())
	return true
}

// connection is the one to a daemon, over all restarts of it.
type connection struct {
	conn    *grpc.ClientConn
	address string
	timeout time.Duration        // to wait for a daemon that is away
	dials   atomic.Int64         // connections begun so far
	peer    atomic.Pointer[peer] // of the latest that was made

	choose    func(context.Context) error // finds the snapshotter anew
	mu        sync.Mutex
	described int64 // the connection over which it was found
}

// resolve waits for a daemon that answers and says what it has. It returns the
// number of the connection to it. A daemon that goes away meanwhile is waited for
// like one that was away before.
func (c *connection) resolve(ctx context.Context) (dial int64, err error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for {
		if err := c.ready(limited); err != nil {
			return 0, cmp.Or(context.Cause(ctx), err)
		}
		dial := c.dials.Load()
		err := asUnavailable(c.address, c.describe(limited, dial))
		if !errors.Is(err, store.ErrUnavailable) || limited.Err() != nil {
			return dial, cmp.Or(context.Cause(ctx), incomplete(c.address, err))
		}
		select {
		case <-limited.Done():
		case <-time.After(firstRetry):
		}
	}
}

// describe finds out once for each connection what the daemon's snapshotter can
// do, and forgets what was proven over another one.
func (c *connection) describe(ctx context.Context, dial int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.described == dial {
		return nil
	}
	if err := c.choose(ctx); err != nil {
		return err
	}
	c.described = dial
	return nil
}

type attachmentKey struct{}

// attachment is what a context is attached to.
type attachment struct {
	dial int64 // number of the connection
	lose context.CancelCauseFunc
}

func (c *connection) lost() error {
	return failure.New(store.ErrUnavailable, "the connection to containerd at %s was lost", c.address)
}

// ready waits for a daemon that answers, at most until ctx ends.
func (c *connection) ready(ctx context.Context) error {
	for {
		state := c.conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		c.conn.Connect()
		if c.conn.WaitForStateChange(ctx, state) {
			continue
		}
		return mute("containerd gave no answer at %s within %s", c.address, c.timeout)
	}
}

// watch returns a context that ends with the connection number dial.
func (c *connection) watch(ctx context.Context, dial int64) (context.Context, func()) {
	ctx, lose := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if c.conn.WaitForStateChange(ctx, connectivity.Ready) {
			lose(c.lost())
		}
	})
	if c.dials.Load() != dial { // it broke and came back before it was watched
		lose(c.lost())
	}
	end := func() { lose(nil); watching.Wait() }
	return context.WithValue(ctx, attachmentKey{}, &attachment{dial, lose}), end
}
