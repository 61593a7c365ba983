package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	dockerconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// upstream is a registry with the hosts that may be asked for its content, in
// order.
type upstream struct {
	once  sync.Once
	hosts []*host
	err   error
}

// upstream finds the hosts of ref's registry, once per Registry.
func (r *Registry) upstream(ctx context.Context, ref source.Ref) (*upstream, error) {
	name := source.CanonicalHost(ref.Domain)
	r.mu.Lock()
	up := r.upstreams[name]
	if up == nil {
		up = &upstream{}
		r.upstreams[name] = up
	}
	r.mu.Unlock()
	up.once.Do(func() { up.hosts, up.err = r.findHosts(ctx, name) })
	return up, up.err
}

// findHosts lists mirrors of the options, hosts of the directory, and last the
// registry itself.
func (r *Registry) findHosts(ctx context.Context, name string) ([]*host, error) {
	hosts, err := r.mirrorHosts(name)
	if err != nil {
		return nil, err
	}
	configured, err := r.directoryHosts(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("configuring hosts of %s: %w: %w", name, err, errdefs.ErrFailedPrecondition)
	}
	hosts = append(hosts, configured...)
	markLast(hosts)
	return hosts, nil
}

// markLast finds the hosts that nobody stands behind, for blobs and for tags.
func markLast(hosts []*host) {
	var pull, resolve *host
	for _, h := range hosts {
		if h.pull {
			pull = h
		}
		if h.resolve {
			resolve = h
		}
	}
	for _, h := range hosts {
		h.last = h == pull || h == resolve
	}
}

// directoryHosts lets containerd read the hosts directory, so that a file
// means the same to both.
func (r *Registry) directoryHosts(ctx context.Context, name string) ([]*host, error) {
	dir, err := findHostDir(r.opts.HostsDirs, name)
	if err != nil {
		return nil, err
	}
	complaints := &complaints{}
	transports := map[*http.Client]*http.Transport{}
	opts := dockerconfig.HostOptions{
		HostDir: func(string) (string, error) { return dir, nil },
		UpdateClient: func(c *http.Client) error {
			if t, ok := c.Transport.(*http.Transport); ok {
				transports[c] = t
			}
			return nil
		},
	}
	found, err := dockerconfig.ConfigureHosts(complaints.listen(ctx), opts)(name)
	if err = errors.Join(err, complaints.first); err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	var hosts []*host
	for _, f := range found {
		h, err := r.newHost(name, f, transports[f.Client], dir != "")
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// complaints catches what containerd logs as an error while it reads a hosts
// directory. It only logs a hosts.toml that it cannot parse and carries on
// without it, and then a mirror, a CA or an order would silently be missing.
type complaints struct{ first error }

func (c *complaints) listen(ctx context.Context) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.AddHook(c)
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}

// Levels and Fire make complaints a hook of the logger.
func (c *complaints) Levels() []logrus.Level {
	return []logrus.Level{logrus.ErrorLevel}
}

func (c *complaints) Fire(e *logrus.Entry) error {
	if c.first == nil {
		err, _ := e.Data[logrus.ErrorKey].(error)
		c.first = cmp.Or(err, errors.New(e.Message))
	}
	return nil
}

// newHost turns containerd's description of a host into ours. t is its
// transport before containerd wrapped it for a fallback to HTTP; configured
// says that there is a directory for the registry.
func (r *Registry) newHost(name string, f docker.RegistryHost, t *http.Transport, configured bool) (*host, error) {
	h := &host{
		name:    f.Host,
		path:    f.Path,
		mirror:  source.CanonicalHost(f.Host) != name,
		pull:    f.Capabilities.Has(docker.HostCapabilityPull),
		resolve: f.Capabilities.Has(docker.HostCapabilityResolve | docker.HostCapabilityPull),
		header:  f.Header,
		schemes: []string{f.Scheme},
	}
	wrapped := f.Client.Transport != http.RoundTripper(t)
	if wrapped {
		h.schemes = []string{"https", "http"}
	}
	cfg := t.TLSClientConfig.Clone()
	if !h.mirror {
		if docker.IsLocalhost(name) && (wrapped || !configured) && cfg.RootCAs == nil && cfg.Certificates == nil {
			h.schemes = []string{"http", "https"}
		}
		if err := r.applyFlags(h, cfg); err != nil {
			return nil, err
		}
	}
	r.finishHost(h, name, cfg, t.DialContext)
	return h, nil
}

// applyFlags puts the options for the reference's own host on top of its entry.
func (r *Registry) applyFlags(h *host, cfg *tls.Config) error {
	switch {
	case r.opts.PlainHTTP:
		h.schemes = []string{"http"}
	case r.opts.Insecure:
		h.schemes, h.insecure = []string{"https", "http"}, true
	case r.tls.ca != nil || r.tls.certs != nil:
		h.schemes = []string{"https"}
	case r.tls.set() && len(h.schemes) > 1:
		h.schemes = []string{"https", "http"}
	}
	return r.tls.apply(cfg)
}

// findHostDir returns the directory for a registry, empty if there is none: an
// entry of its own name in any of dirs wins over every _default.
func findHostDir(dirs []string, name string) (string, error) {
	for _, entries := range [][]string{hostDirNames(name), {"_default"}} {
		for _, dir := range dirs {
			for _, entry := range entries {
				path := filepath.Join(dir, entry)
				_, err := os.Stat(path)
				if err == nil {
					return path, nil
				}
				if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
					return "", err
				}
			}
		}
	}
	return "", nil
}

// hostDirNames lists the names under which a registry may have a directory.
// The form host_port_ is for file systems that cannot hold a colon.
func hostDirNames(name string) []string {
	if name == source.DockerHub {
		return source.HostAliases(name)
	}
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return []string{name, name + "_443_", name + ":443"}
	}
	names := []string{strings.TrimSuffix(name, ":"+port) + "_" + port + "_", name}
	if port == "443" {
		names = append(names, host)
	}
	return names
}

// Host describes one host of a registry: what would be asked, and how.
type Host struct {
	Name          string   // host:port as contacted
	URL           string   // API root, for example https://registry-1.docker.io/v2
	Fallback      string   // scheme that is tried second, empty if there is none
	Pull, Resolve bool     // what it may be asked for
	Mirror        bool     // not the reference's own host
	SkipVerify    bool     // its certificate is not checked
	CA            bool     // it has CAs of its own
	ClientCert    bool     // it is shown a client certificate
	Headers       []string // names of the headers sent along
}

// Hosts lists the hosts that would be asked for ref, in order. It contacts
// nobody.
func (r *Registry) Hosts(ctx context.Context, ref source.Ref) ([]Host, error) {
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return nil, err
	}
	var list []Host
	for _, h := range up.hosts {
		list = append(list, h.describe())
	}
	return list, nil
}

func (h *host) describe() Host {
	d := Host{
		Name: h.name, URL: h.schemes[0] + "://" + h.name + h.path,
		Pull: h.pull, Resolve: h.resolve, Mirror: h.mirror,
		SkipVerify: h.tls.InsecureSkipVerify, CA: h.tls.RootCAs != nil, ClientCert: len(h.tls.Certificates) > 0,
	}
	if len(h.schemes) > 1 {
		d.Fallback = h.schemes[1]
	}
	for name := range h.header {
		d.Headers = append(d.Headers, name)
	}
	sort.Strings(d.Headers)
	return d
}
