package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/image"
	transferregistry "github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNoTransfer says that there is no transfer service: the root is embedded,
// the daemon is older than 2.0, or it was switched off.
var ErrNoTransfer = fmt.Errorf("containerd has no transfer service of use, it takes 2.0: %w", errdefs.ErrFailedPrecondition)

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

// Transfer hands t to the daemon's transfer service.
func (s *Store) Transfer(ctx context.Context, t Transfer) error {
	if err := s.CanTransfer(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	source, err := transferregistry.NewOCIRegistry(ctx, t.Source, t.sourceOptions(cancel)...)
	if err != nil {
		return fmt.Errorf("describing the source of %s: %w", t.Name, err)
	}
	err = s.daemon.client.Transfer(ctx, source, image.NewStore(t.Name, t.storeOptions(s.Name)...), transfer.WithProgress(t.report))
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// CanTransfer is nil if there is a transfer service that understands a
// Transfer; that of 1.7 would ignore half of it.
func (s *Store) CanTransfer(ctx context.Context) error {
	if s.daemon == nil || !s.traits.Load().transfers {
		return ErrNoTransfer
	}
	if ok, err := s.isVersion2(ctx); err != nil || !ok {
		return errors.Join(err, ErrNoTransfer)
	}
	return nil
}

func (t Transfer) report(p transfer.Progress) {
	if t.Progress != nil {
		t.Progress(p)
	}
}

func (t Transfer) sourceOptions(cancel context.CancelCauseFunc) []transferregistry.Opt {
	var opts []transferregistry.Opt
	if t.PlainHTTP {
		opts = append(opts, transferregistry.WithDefaultScheme("http"))
	}
	if t.HostsDir != "" {
		opts = append(opts, transferregistry.WithHostDir(t.HostsDir))
	}
	if t.Credentials != nil {
		opts = append(opts, transferregistry.WithCredentials(&answerer{find: t.Credentials, cancel: cancel}))
	}
	return opts
}

func (t Transfer) storeOptions(snapshotter string) []image.StoreOpt {
	opts := []image.StoreOpt{image.WithImageLabels(t.Labels), image.WithPlatforms(t.Platforms...)}
	if t.Metadata {
		opts = append(opts, image.WithAllMetadata)
	}
	if t.Unpack {
		for _, p := range t.Platforms {
			opts = append(opts, image.WithUnpack(p, snapshotter))
		}
	}
	return opts
}

// answerer gives the daemon credentials. The daemon waits for an answer for
// ever, so there always is one: where none can be found the transfer ends.
type answerer struct {
	find   func(ctx context.Context, host string) (string, string, error)
	cancel context.CancelCauseFunc
}

// GetCredentials implements registry.CredentialHelper.
func (a *answerer) GetCredentials(ctx context.Context, _, host string) (transferregistry.Credentials, error) {
	username, secret, err := a.find(ctx, host)
	if err != nil {
		a.cancel(err)
		return transferregistry.Credentials{Host: host}, nil
	}
	return transferregistry.Credentials{Host: host, Username: username, Secret: secret}, nil
}
