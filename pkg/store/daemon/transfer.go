package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/image"
	transferregistry "github.com/containerd/containerd/v2/core/transfer/registry"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Transfer implements store.Transferrer.
func (d *daemon) Transfer(ctx context.Context, t store.Transfer) error {
	if err := d.CanTransfer(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	source, err := transferregistry.NewOCIRegistry(ctx, t.Source, sourceOptions(t, cancel)...)
	if err != nil {
		return fmt.Errorf("describing the source of %s: %w", t.Name, err)
	}
	target := image.NewStore(t.Name, storeOptions(t, d.parts.Name)...)
	err = d.client.Transfer(ctx, source, target, transfer.WithProgress(reporter(t)))
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return asRefusal(err)
}

// CanTransfer implements store.Transferrer.
func (d *daemon) CanTransfer(ctx context.Context) error {
	if !d.traits.Load().transfers {
		return store.ErrNoTransfer
	}
	if ok, err := d.isVersion2(ctx); err != nil || !ok {
		return errors.Join(err, store.ErrNoTransfer)
	}
	return nil
}

// asRefusal recognizes what a daemon says when its verifiers block a transfer; its
// API has no class of errors for that (core/transfer/local in containerd, pull).
func asRefusal(err error) error {
	if err == nil || !strings.Contains(err.Error(), "image verifier ") {
		return err
	}
	return refusal{err}
}

// refusal is store.ErrRefused in the words of the daemon.
type refusal struct{ error }

func (r refusal) Unwrap() []error { return []error{r.error, store.ErrRefused} }

func reporter(t store.Transfer) transfer.ProgressFunc {
	if t.Progress == nil {
		return func(transfer.Progress) {}
	}
	return t.Progress
}

func sourceOptions(t store.Transfer, cancel context.CancelCauseFunc) []transferregistry.Opt {
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

func storeOptions(t store.Transfer, snapshotter string) []image.StoreOpt {
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

// answerer gives the daemon credentials. The daemon waits for an answer without a
// bound, so there always is one: if none can be found the transfer ends.
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
