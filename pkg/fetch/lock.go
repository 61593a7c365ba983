package fetch

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
)

const (
	// stallsOfOthers is how many stall timeouts another client's ingest may stay
	// idle; it may be honouring Retry-After.
	stallsOfOthers = 2
	// lostLock is how long a lock may be without an ingest. After that time no
	// client can be about to commit it.
	lostLock = 2 * time.Second
	// The pauses between two tries to open what another client has open.
	lockPause    = 16 * time.Millisecond
	maxLockPause = 2 * time.Second
)

// openWriter opens the ingest. It waits for another client that has it open as
// long as that one gets on, and then begins an ingest of its own: a client may
// hang, and a daemon whose metadata had no room for an ingest holds the lock of
// it until it is restarted.
func (in *Ingest) openWriter(ctx context.Context) (content.Writer, error) {
	other := holder{since: time.Now()}
	for pause := lockPause; ; pause = min(2*pause, maxLockPause) {
		w, err := in.f.content.Writer(ctx, content.WithRef(in.key), content.WithDescriptor(in.blob.Desc))
		if !errdefs.IsUnavailable(err) {
			return w, err
		}
		status, statusErr := in.f.content.Status(ctx, in.key)
		other.observe(status, statusErr)
		if idle := time.Since(other.since); idle > in.patience(statusErr) {
			in.warn("its ingest has been locked for %v without a byte; another is begun beside it", idle.Round(time.Second))
			in.key, other.since = in.key+"-"+strings.ToLower(rand.Text()[:8]), time.Now()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// patience is how long a client may hold the ingest without getting on, if err
// was the answer to the question for its status.
func (in *Ingest) patience(err error) time.Duration {
	patience := stallsOfOthers * in.f.source.StallTimeout()
	if errdefs.IsNotFound(err) {
		return min(patience, in.f.lostLock)
	}
	return patience
}

// holder is another client that has an ingest open.
type holder struct {
	status content.Status
	since  time.Time // when it last got on
}

// observe compares the status of the ingest, or the error of asking for it, with
// what was seen before.
func (h *holder) observe(now content.Status, err error) {
	if errdefs.IsUnavailable(err) { // the daemon is away, and the client may get on
		h.since = time.Now()
	}
	if err == nil && (now.Offset != h.status.Offset || !now.UpdatedAt.Equal(h.status.UpdatedAt)) {
		h.status, h.since = now, time.Now()
	}
}
