package store

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// ErrNoTransfer says that there is no transfer service: the root is embedded,
// the daemon is older than 2.0, or it was switched off.
var ErrNoTransfer error = failure.New(errdefs.ErrFailedPrecondition, "containerd has no transfer service of use, it takes 2.0")

// Transfer is a pull that the daemon is to carry out itself.
type Transfer struct {
	Source    string // reference to ask the registry for
	Name      string // of the image record
	Platforms []ocispec.Platform
	// Unpack the platforms into the store's snapshotter.
	Unpack   bool
	Metadata bool // keep manifests and configs of other platforms
	Labels   map[string]string

	PlainHTTP bool
	HostsDir  string // in the daemon's file system, or ""
	// Credentials finds the credential for a host; nil is anonymous. An error
	// ends the transfer.
	Credentials func(ctx context.Context, host string) (username, secret string, err error)
	// Progress is told the daemon's events.
	Progress func(transfer.Progress)
}

// ErrRefused says that an image verifier of the daemon blocked a Transfer.
var ErrRefused = errors.New("an image verifier refused the image")

// Transferrer is a Backend that can carry out a whole pull by itself.
type Transferrer interface {
	// CanTransfer is that of Store.
	CanTransfer(ctx context.Context) error
	// Transfer is that of Store.
	Transfer(ctx context.Context, t Transfer) error
}

// CanTransfer is nil if there is a transfer service that understands a
// Transfer; that of 1.7 would ignore half of it.
func (s *Store) CanTransfer(ctx context.Context) error {
	t, ok := s.backend.(Transferrer)
	if !ok {
		return ErrNoTransfer
	}
	return t.CanTransfer(ctx)
}

// Transfer hands t to the daemon's transfer service. It fails with ErrRefused if
// an image verifier of the daemon blocks it.
func (s *Store) Transfer(ctx context.Context, t Transfer) error {
	by, ok := s.backend.(Transferrer)
	if !ok {
		return ErrNoTransfer
	}
	return by.Transfer(ctx, t)
}

// Verifiers are the image verifiers that a daemon asks before it pulls. Only its
// transfer service does: a client that fetches in its place has to ask them
// itself, or must leave the pull to it.
type Verifiers struct {
	// Programs are those of the plugin bindir; nil if it is not there, or if
	// Unknown says why this process cannot ask in the daemon's place.
	Programs *VerifierPrograms
	Unknown  string
}

// VerifierPrograms is the configuration of the plugin bindir.
type VerifierPrograms struct {
	Dir     string // may be missing or empty, then everything is allowed
	Max     int    // negative is no bound
	Timeout time.Duration
}
