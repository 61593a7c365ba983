package hosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	dockerconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// fromDirectory lets containerd read the hosts directory, so that a file means
// the same to both.
func (f *Finder) fromDirectory(ctx context.Context, name string) ([]Host, error) {
	dir, err := f.directory(name)
	if err != nil {
		return nil, err
	}
	reads := dir
	if dir != "" {
		var done func()
		if reads, done, err = (folder{dir, f.opts.DirsFound}).private(); err != nil {
			return nil, err
		}
		defer done()
	}
	complaints := &complaints{}
	transports := map[*http.Client]*http.Transport{}
	opts := dockerconfig.HostOptions{
		HostDir: func(string) (string, error) { return reads, nil },
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
	var list []Host
	for _, entry := range found {
		h, err := f.host(name, entry, transports[entry.Client], dir != "")
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, f.checkOwn(list, dir)
}

// checkOwn refuses settings for the registry's own host where a directory has put
// another one in its place: nothing that was set is silently without effect.
func (f *Finder) checkOwn(list []Host, dir string) error {
	set := f.opts.own()
	if len(set) == 0 || len(list) == 0 || slices.ContainsFunc(list, func(h Host) bool { return !h.Mirror }) {
		return nil
	}
	server := list[len(list)-1].Name
	err := failure.New(errdefs.ErrFailedPrecondition, "%s: set for the registry's own host, in whose place server in %s puts %s",
		strings.Join(set, ", "), filepath.Join(dir, "hosts.toml"), server)
	return err.WithHint("put what %s needs into that file, and its credential into the configuration with match = [%q], or take the line server out", server, server)
}

// own names the settings that concern the registry's own host.
func (o Options) own() []string {
	var names []string
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"plain_http", o.PlainHTTP}, {"insecure_registry", o.Insecure}, {"tls.skip_verify", o.SkipVerify},
		{"tls.ca", o.CA != ""}, {"tls.cert", o.Cert != ""}, {"the credential of the command line", o.Login},
	} {
		if s.set {
			names = append(names, s.name)
		}
	}
	return names
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

// host turns containerd's description of a host into a Host. t is its transport
// before containerd wrapped it for a fallback to HTTP; configured means that
// there is a directory for the registry.
func (f *Finder) host(name string, entry docker.RegistryHost, t *http.Transport, configured bool) (Host, error) {
	h := Host{
		Name:    contacted(entry.Host),
		Path:    entry.Path,
		Schemes: []string{entry.Scheme},
		Mirror:  source.CanonicalHost(entry.Host) != name,
		Pull:    entry.Capabilities.Has(docker.HostCapabilityPull),
		Resolve: entry.Capabilities.Has(docker.HostCapabilityResolve | docker.HostCapabilityPull),
		Header:  entry.Header,
		TLS:     t.TLSClientConfig.Clone(),
		Dial:    t.DialContext,
	}
	wrapped := entry.Client.Transport != http.RoundTripper(t)
	if wrapped {
		h.Schemes = []string{"https", "http"}
	}
	if h.Mirror {
		h.Namespace = name
		return h, nil
	}
	if docker.IsLocalhost(name) && (wrapped || !configured) && h.TLS.RootCAs == nil && h.TLS.Certificates == nil {
		h.Schemes = []string{"http", "https"}
	}
	return h, f.applyOptions(&h)
}

// contacted is the host that serves the API of a registry: containerd's own
// documentation has server = "https://docker.io", where there is none.
func contacted(host string) string {
	if source.CanonicalHost(host) == source.DockerHub {
		return source.ContactedHost(source.DockerHub)
	}
	return host
}

// applyOptions puts the options for the reference's own host on top of its
// entry.
func (f *Finder) applyOptions(h *Host) error {
	switch {
	case f.opts.PlainHTTP:
		h.Schemes = []string{"http"}
	case f.opts.Insecure:
		h.Schemes, h.Insecure = []string{"https", "http"}, true
	case f.tls.ca != nil || f.tls.certs != nil:
		h.Schemes = []string{"https"}
	case f.tls.isSet() && len(h.Schemes) > 1:
		h.Schemes = []string{"https", "http"}
	}
	return f.tls.apply(h.TLS)
}

// directory returns the directory for a registry, empty if there is none: an entry
// of its own name in any of the options' Dirs wins over every _default. One that
// was found by search and does not count is left out with a warning.
func (f *Finder) directory(name string) (string, error) {
	f.checkDirs()
	for _, dir := range f.opts.Dirs {
		path, err := f.firstEntry(dir, directoryNames(dir, name))
		if path != "" || err != nil {
			return path, err
		}
	}
	for _, dir := range f.opts.Dirs {
		path, err := f.firstEntry(dir, []string{"_default"})
		if path != "" || err != nil {
			return path, err
		}
	}
	return "", nil
}

// checkDirs warns where none of the Dirs that were named is there: a name that is
// mistyped, or has a comma, would silently be no mirror and no certificate.
func (f *Finder) checkDirs() {
	if f.opts.DirsFound || len(f.opts.Dirs) == 0 {
		return
	}
	for _, dir := range f.opts.Dirs {
		if _, err := os.Stat(dir); dir == "" || !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	f.warn("hosts_dir: there is no folder " + strings.Join(f.opts.Dirs, ", nor "))
}

func (f *Finder) firstEntry(dir string, names []string) (string, error) {
	for _, name := range names {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return "", err
		}
		err = folder{path, f.opts.DirsFound}.check()
		if foreign, ok := errors.AsType[*userfile.Foreign](err); ok && f.opts.DirsFound {
			f.warn(foreign.Warning())
			continue
		}
		return path, err
	}
	return "", nil
}

// warn passes a message on once.
func (f *Finder) warn(message string) {
	if _, known := f.warned.LoadOrStore(message, true); !known && f.opts.Warn != nil {
		f.opts.Warn(message)
	}
}

// directoryNames lists the names under which a registry may have a directory in
// dir: those that containerd makes of its canonical name, then other spellings
// that are there.
func directoryNames(dir, name string) []string {
	names := source.HostAliases(name)
	if name != source.DockerHub {
		names = portNames(name)
	}
	entries, err := os.ReadDir(dir)
	if err != nil { // a directory that cannot be listed may still have entries
		return names
	}
	for _, e := range entries {
		if host := namedHost(e.Name()); source.CanonicalHost(host) == name && !slices.Contains(names, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// portNames lists containerd's forms of a name. The form host_port_ is for file
// systems that cannot hold a colon.
func portNames(name string) []string {
	_, port, err := net.SplitHostPort(name)
	if err != nil {
		return []string{name, name + "_443_", name + ":443"}
	}
	return []string{strings.TrimSuffix(name, ":"+port) + "_" + port + "_", name}
}

// namedHost is the host that the name of a directory stands for.
func namedHost(entry string) string {
	if inner, ok := strings.CutSuffix(entry, "_"); ok {
		if at := strings.LastIndexByte(inner, '_'); at > 0 {
			return inner[:at] + ":" + inner[at+1:]
		}
	}
	return entry
}

// DirsOf returns those of dirs that configure the registry called domain, by
// containerd's own rules.
func DirsOf(dirs []string, domain string) ([]string, error) {
	var found []string
	for _, dir := range dirs {
		_, err := dockerconfig.HostDirFromRoot(dir)(domain)
		if err == nil {
			found = append(found, dir)
		} else if !errdefs.IsNotFound(err) {
			return nil, failure.New(errdefs.ErrFailedPrecondition, "looking for %s in %s: %w", domain, dir, err)
		}
	}
	return found, nil
}
