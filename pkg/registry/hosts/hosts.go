// Package hosts lists, as data, which hosts may be asked for the content of a
// registry, in what order, and how they are reached: first the mirrors of the
// options, then the hosts of a hosts directory (hosts.toml, certs.d), and last
// the registry itself.
//
// It reads files and contacts no host; pkg/registry makes of each Host what
// sends requests. It also writes the options as hosts.toml files (file.go).
//
// Start reading at Options, then Finder.Find. In directory.go, containerd reads
// its own directories, so that a file means the same to both.
package hosts

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// Options say which hosts are asked for a registry and how they are reached. The
// zero value is the registry itself.
type Options struct {
	// Dirs are searched for the registry's own name first, all of them, then
	// for _default.
	Dirs []string
	// DirsFound is set if the Dirs are those that are searched by default: what
	// others can write counts only in those that were named.
	DirsFound bool
	// Warn takes, once each, what is left out. It may be nil.
	Warn func(message string)
	// Mirrors are asked before the hosts of Dirs.
	Mirrors []Mirror

	// PlainHTTP, Insecure, SkipVerify, CA, Cert and Key concern the
	// reference's own host. Insecure is SkipVerify, and HTTP if HTTPS fails.
	PlainHTTP  bool
	Insecure   bool
	SkipVerify bool
	CA         string // PEM file, added to the system's
	Cert, Key  string // PEM files, both or none
	// Login: the command line has a credential for the reference's own host.
	Login bool
}

func (o Options) validate() error {
	if (o.Cert == "") != (o.Key == "") {
		return failure.New(errdefs.ErrInvalidArgument, "client certificate %q with key %q: both or none", o.Cert, o.Key)
	}
	if o.PlainHTTP && (o.SkipVerify || o.CA != "" || o.Cert != "") {
		return failure.New(errdefs.ErrInvalidArgument, "plain HTTP excludes TLS settings")
	}
	for i, m := range o.Mirrors {
		if err := m.Validate(); err != nil {
			return fmt.Errorf("mirrors[%d]: %w", i, err)
		}
	}
	return nil
}

// Host is one host of a registry: how it is reached and what it may be asked
// for.
type Host struct {
	Name string // host:port as contacted
	Path string // of the API root, for example /v2
	// Schemes are tried in order until one is found to work; there is at least
	// one. Insecure lets any failure of the first lead to the second.
	Schemes  []string
	Insecure bool
	// Mirror is set for all but the reference's own host. A mirror is told the
	// registry as Namespace (?ns=), which is empty for the own host.
	Mirror    bool
	Namespace string
	// Pull is for content by digest; Resolve includes tags.
	Pull, Resolve bool
	// Last is set for the last host with Pull and for the last with Resolve:
	// there is no host to fall back to.
	Last   bool
	Header http.Header // sent to this host alone
	TLS    *tls.Config
	// Dial connects to the host, in the time that its own entry allows.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// URL is the API root by the first scheme, for example
// https://registry-1.docker.io/v2.
func (h Host) URL() string { return h.Schemes[0] + "://" + h.Name + h.Path }

// Finder finds the hosts of registries by its options.
type Finder struct {
	opts   Options
	tls    tlsFiles
	warned sync.Map // of messages
}

// New checks o and reads the files of the reference's own host, so that one that
// cannot be read is reported before anything is contacted.
func New(o Options) (*Finder, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	files, err := loadTLS(o.CA, o.Cert, o.Key, o.SkipVerify || o.Insecure)
	if err != nil {
		return nil, err
	}
	return &Finder{opts: o, tls: files}, nil
}

// Find lists the hosts of the registry with the canonical name, in the order of
// asking: mirrors of the options, hosts of the directory, and last the registry
// itself. A directory that cannot be read or parsed is an
// errdefs.ErrFailedPrecondition.
func (f *Finder) Find(ctx context.Context, name string) ([]Host, error) {
	list, err := f.mirrors(name)
	if err != nil {
		return nil, err
	}
	configured, err := f.fromDirectory(ctx, name)
	if err != nil {
		return nil, failure.New(errdefs.ErrFailedPrecondition, "configuring hosts of %s: %w", name, err)
	}
	list = append(list, configured...)
	markLast(list)
	return list, nil
}

// markLast marks the last host to try, for blobs and for tags.
func markLast(list []Host) {
	var pull, resolve *Host
	for i := range list {
		if list[i].Pull {
			pull = &list[i]
		}
		if list[i].Resolve {
			resolve = &list[i]
		}
	}
	for _, last := range []*Host{pull, resolve} {
		if last != nil {
			last.Last = true
		}
	}
}
