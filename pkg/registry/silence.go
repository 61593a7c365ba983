package registry

import (
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// silentTime is how long a host that was asked may send nothing before that is
// reported.
const silentTime = 3 * time.Second

// silence is a clock that runs while a host is waited for. Where it runs out, an
// event says so; the wait itself is ended by others.
type silence struct{ timer *time.Timer }

func (r *Registry) newSilence(h *host, c call) silence {
	return silence{time.AfterFunc(silentTime, func() {
		r.opts.Progress.Emit(progress.Event{Kind: progress.Stalled, Ref: c.ref.Name, Digest: c.digest, Host: h.Name, Wait: silentTime})
	})}
}

// begin starts the clock anew.
func (s silence) begin() { s.timer.Reset(silentTime) }

func (s silence) end() { s.timer.Stop() }
