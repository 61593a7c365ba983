package batch

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// Parts opens what jobs need, as their configuration says, and keeps it for
// the next job that needs the same. The fields are set before it is used.
type Parts struct {
	// Caller is the user whose credentials the configuration names.
	Caller config.Caller
	// Login is the credential of the command line; nil means that there is none.
	Login     *credential.Credential
	UserAgent string
	Progress  progress.Sink
	// Dump and Trace take what is sent and received, see registry.Options; nil
	// turns them off.
	Dump, Trace io.Writer

	// Pause keeps the display away from the terminal while a program of a
	// credential asks there; nil means that there is no display.
	Pause func() (resume func())

	shared *credential.Shared
	shops  map[shopKey]shop
	store  *store.Store
	at     place // where store is
}

// shopKey is what the settings of a registry client follow from in one call: the
// profile, and whether it was chosen for the call or for a line of a list, which makes it
// stronger than variables.
type shopKey struct {
	profile string
	chosen  bool
}

func keyOf(cfg *config.Config) shopKey {
	by := cfg.ProfileOrigin().Kind
	return shopKey{cfg.Profile, by == config.FromFlag || by == config.FromLine}
}

// shop is a registry client and what finds its credentials.
type shop struct {
	*registry.Registry
	find credential.Finder
}

// ConfigError is a configuration that cannot be followed: it names something
// that does not exist, or does not fit together.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// Registry returns the registry client of cfg's profile. All jobs of a profile
// share it, and with it tokens and what was learnt about hosts.
func (p *Parts) Registry(cfg *config.Config) (*registry.Registry, error) {
	if known, ok := p.shops[keyOf(cfg)]; ok {
		return known.Registry, nil
	}
	o := cfg.Registry
	o.UserAgent, o.Progress, o.Dump, o.Trace = p.UserAgent, p.Progress, p.Dump, p.Trace
	o.Hosts.Login = p.Login != nil
	credentials := cfg.CredentialOptions(p.Caller, p.Login)
	credentials.Shared = p.sharedCredentials()
	var err error
	if o.Credentials, err = credential.New(credentials); err != nil {
		return nil, &ConfigError{err}
	}
	reg, err := registry.New(o)
	if err != nil {
		return nil, &ConfigError{err}
	}
	if p.shops == nil {
		p.shops = make(map[shopKey]shop)
	}
	p.shops[keyOf(cfg)] = shop{reg, o.Credentials}
	return reg, nil
}

// sharedCredentials is what all profiles of the call share: a helper is run once
// for each host, however many images there are.
func (p *Parts) sharedCredentials() *credential.Shared {
	if p.shared == nil {
		p.shared = &credential.Shared{Pause: p.Pause, Warn: func(ref source.Ref, message string) {
			p.Progress.Emit(progress.Event{Kind: progress.Warning, Ref: ref.Name, Message: message})
		}}
	}
	return p.shared
}

// Store returns the store that o describes. The one before it is closed if it
// is another: one store is open at a time, because a root without a daemon can
// be held only once.
func (p *Parts) Store(ctx context.Context, o store.Options) (*store.Store, error) {
	return p.open(ctx, place{o, toWrite})
}

// Look is Store for looking only. A root without a daemon does not change, and what
// would be written to it fails.
func (p *Parts) Look(ctx context.Context, o store.Options) (*store.Store, error) {
	return p.open(ctx, place{o, toLook})
}

// place is a store, and what it is opened for.
type place struct {
	store.Options
	use
}

type use int

const (
	toWrite use = iota
	toLook
	toForesee // a root that does not exist is looked at as the empty one that a pull would make
)

func (p *Parts) open(ctx context.Context, at place) (*store.Store, error) {
	if p.store != nil && p.at == at {
		return p.store, nil
	}
	if err := p.Close(); err != nil {
		return nil, err
	}
	roots := root.Opener{Waiting: func(message string) {
		p.Progress.Emit(progress.Event{Kind: progress.Warning, Message: message})
	}}
	open := daemon.Dial
	switch {
	case at.Root != "" && at.use == toLook:
		open = roots.Look
	case at.Root != "" && at.use == toForesee:
		open = roots.Foresee
	case at.Root != "":
		open = roots.Open
	}
	st, err := open(ctx, at.Options)
	if errdefs.IsInvalidArgument(err) && at.Root == "" { // a snapshotter that the daemon does not have
		return nil, &ConfigError{err}
	}
	if err != nil {
		return nil, err
	}
	p.store, p.at = st, at
	return st, nil
}

// Close closes the store that is open, if there is one.
func (p *Parts) Close() error {
	if p.store == nil {
		return nil
	}
	err := p.store.Close()
	p.store = nil
	if err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}
