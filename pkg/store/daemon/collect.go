package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/leases"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// collectTime is the expiry of the throw-away lease whose deletion triggers a
// daemon's collection.
const collectTime = 10 * time.Minute

// Collect implements store.Backend. The collection of everything follows the
// synchronous deletion of a lease.
func (d *daemon) Collect(ctx context.Context, what store.What) error {
	if what == store.Garbage {
		return nil // the daemon's own affair
	}
	lease, err := d.parts.Leases.Create(ctx, leases.WithID(store.LeasePrefix+"collect-"+strings.ToLower(rand.Text()[:8])), leases.WithExpiration(collectTime))
	if err != nil {
		return fmt.Errorf("creating a lease: %w", err)
	}
	if err := d.parts.Leases.Delete(context.WithoutCancel(ctx), lease, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("waiting for containerd to collect garbage: %w", err)
	}
	return nil
}
