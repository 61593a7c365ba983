// Package registry speaks HTTP to OCI registries: it asks the hosts of a registry
// in turn, with credentials and tokens, turns a tag into a manifest and opens
// blobs. References, targets and errors are those of pkg/source, whose Source a
// *Registry is.
//
// It stores nothing, and it trusts no host: every manifest is checked against its
// digest and bounded, a blob never yields more than its descriptor promises, a
// secret goes only to the host it was found for, and redirects are followed by
// the rules of docs/security.md.
//
// One attempt at a blob is one round over its hosts; the caller retries, with
// Backoff. Manifests and tokens are retried here.
//
// Errors are *source.Error values or hold one; their classes are those of
// errdefs. A hosts directory that cannot be read or parsed is
// ErrFailedPrecondition.
//
// Which hosts there are is in registry/hosts, where credentials are found in
// registry/credential, what token servers are asked in registry/token. Start
// reading at Options, then Resolve (manifest.go), Open (blob.go) and ask
// (client.go).
package registry

import (
	"io"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry/allowance"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/dump"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// Options say how registries are spoken to. The zero value works.
type Options struct {
	// Hosts say which hosts are asked and how they are reached.
	Hosts hosts.Options
	// Proxy overrides the proxy of the environment; ProxyFrom is what messages call
	// the place where it is set.
	Proxy, ProxyFrom string
	// Getenv reads the variables that name proxies: HTTP_PROXY, HTTPS_PROXY and
	// NO_PROXY, in capitals or small letters. Without it there are none.
	Getenv func(name string) string
	// Credentials is asked for each host; nil is anonymous.
	Credentials credential.Finder
	// TokenHosts are token servers that may get credentials although they are
	// in another domain than the registry.
	TokenHosts []string
	// PrivateRedirects are hosts and networks (10.0.0.0/8) at loopback or private
	// addresses to which a public registry may redirect.
	PrivateRedirects []string
	// AllowForeignURLs lets blobs be fetched from the urls of their descriptor.
	AllowForeignURLs bool

	UserAgent string
	Retry     Retry
	// StallTimeout ends connects, handshakes, waits for headers and bodies
	// that do not move. 0 means 30 s.
	StallTimeout time.Duration
	// MinRate in bytes per second is what a body must bring on average over
	// StallTimeout. 0 means anything will do.
	MinRate int64
	// ManifestBytes bounds a manifest. 0 means 4 MiB.
	ManifestBytes int64
	// RequestsPerSecond bounds the requests to each host. 0 means no bound.
	RequestsPerSecond float64

	// Dump gets requests and answers, Trace what happens to connections.
	// Secrets are masked and bodies of blobs left out.
	Dump, Trace io.Writer
	// Progress gets an event before each wait for another try (progress.Retry)
	// and for each host that is not asked again (progress.HostFailed).
	Progress progress.Sink
}

// Registry speaks to the hosts of many references and remembers, for as long
// as it lives, their tokens and which of them failed. It is safe for many
// goroutines.
type Registry struct {
	opts  Options
	hosts *hosts.Finder
	masks *dump.Masks
	dump  *dump.Writer
	trace *dump.Writer

	proxies proxies
	heard   heard // servers that have answered
	absent  heard // hosts that were given up after the second try
	book    *allowance.Book

	mu        sync.Mutex
	upstreams map[string]*upstream
	blames    map[blame]int
	suspects  map[blame]int // wrong bytes that may be the host's
}

const (
	defaultStall     = 30 * time.Second
	defaultManifest  = 4 << 20
	defaultUserAgent = "containerd-pull"
)

// New checks o and returns a Registry. It contacts no host.
func New(o Options) (*Registry, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	if o.Hosts.Warn == nil {
		o.Hosts.Warn = func(message string) { o.Progress.Emit(progress.Event{Kind: progress.Warning, Message: message}) }
	}
	finder, err := hosts.New(o.Hosts)
	if err != nil {
		return nil, err
	}
	proxies, err := newProxies(o)
	if err != nil {
		return nil, err
	}
	m := &dump.Masks{}
	return &Registry{
		opts:      o,
		hosts:     finder,
		proxies:   proxies,
		masks:     m,
		dump:      dump.New(o.Dump, m),
		trace:     dump.New(o.Trace, m),
		book:      allowance.New(o.StallTimeout),
		upstreams: map[string]*upstream{},
		blames:    map[blame]int{},
		suspects:  map[blame]int{},
	}, nil
}

func (o Options) validate() error {
	if o.StallTimeout < 0 || o.MinRate < 0 || o.ManifestBytes < 0 || o.RequestsPerSecond < 0 || o.Retry.Delay < 0 {
		return failure.New(errdefs.ErrInvalidArgument, "negative limit")
	}
	for _, host := range o.TokenHosts {
		if !isHostEntry(host) {
			return failure.New(errdefs.ErrInvalidArgument, "token server %q: want HOST or HOST:PORT", host)
		}
	}
	for _, entry := range o.PrivateRedirects {
		if err := validatePrivateRedirect(entry); err != nil {
			return err
		}
	}
	return nil
}

// isHostEntry reports whether text can be a host, with or without a port.
func isHostEntry(text string) bool { return text != "" && !strings.ContainsAny(text, "/@*") }

func (o *Options) setDefaults() {
	if o.StallTimeout == 0 {
		o.StallTimeout = defaultStall
	}
	if o.ManifestBytes == 0 {
		o.ManifestBytes = defaultManifest
	}
	if o.UserAgent == "" {
		o.UserAgent = defaultUserAgent
	}
}

// heard is a set of hosts of which something was learned in this call.
type heard struct{ hosts sync.Map }

func (h *heard) note(host string) { h.hosts.Store(host, true) }

func (h *heard) has(host string) bool {
	_, ok := h.hosts.Load(host)
	return ok
}

// StallTimeout is how long a connection may be without a byte.
func (r *Registry) StallTimeout() time.Duration { return r.opts.StallTimeout }
