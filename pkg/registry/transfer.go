package registry

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TransferSettings implements source.Transferable: it returns the settings for ref that
// containerd's transfer service can take over.
func (r *Registry) TransferSettings(ctx context.Context, ref source.Ref) (source.TransferSettings, error) {
	// The daemon looks for the host as it is typed.
	dirs, err := hosts.DirsOf(r.opts.Hosts.Dirs, ref.TypedHost())
	if err != nil {
		return source.TransferSettings{}, err
	}
	lost := r.opts.undelegable()
	if len(dirs) > 1 {
		lost = append(lost, "several hosts directories for "+ref.TypedHost()+" ("+strings.Join(dirs, ", ")+")")
	}
	if len(lost) > 0 {
		return source.TransferSettings{}, failure.New(errdefs.ErrFailedPrecondition, "the daemon cannot take over %s", strings.Join(lost, ", "))
	}
	plain, err := r.speaksHTTP(ctx, ref)
	if err != nil {
		return source.TransferSettings{}, err
	}
	d := source.TransferSettings{PlainHTTP: plain}
	if len(dirs) == 1 {
		d.HostsDir = dirs[0]
	}
	if r.opts.Credentials != nil {
		d.Credentials = func(ctx context.Context, host string) (string, string, error) {
			return r.transferCredential(ctx, host, ref)
		}
	}
	return d, nil
}

// speaksHTTP reports whether the reference's own host is asked over plain HTTP:
// because the settings say so, or because it is on loopback and has answered so.
// A daemon that is not told begins with HTTPS and believes any certificate.
func (r *Registry) speaksHTTP(ctx context.Context, ref source.Ref) (bool, error) {
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(up.hosts, func(h *host) bool {
		known := h.knownScheme.Load()
		return !h.Mirror && known != nil && *known == "http"
	}), nil
}

// undelegable names what is set and cannot be told to the transfer service.
func (o Options) undelegable() []string {
	var lost []string
	for name, set := range map[string]bool{
		"skipping the check of certificates": o.Hosts.SkipVerify || o.Hosts.Insecure,
		"a CA or client certificate":         o.Hosts.CA != "" || o.Hosts.Cert != "",
		"mirrors of a profile":               len(o.Hosts.Mirrors) > 0,
		"a proxy of a profile":               o.Proxy != "",
		"dumps and traces of HTTP":           o.Dump != nil || o.Trace != nil,
	} {
		if set {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	return lost
}

// transferCredential finds the credential for host in the two values that the transfer
// service takes.
func (r *Registry) transferCredential(ctx context.Context, host string, ref source.Ref) (string, string, error) {
	c, err := r.opts.Credentials(ctx, host, ref)
	switch {
	case err != nil:
		return "", "", err
	case c.RegistryToken != "":
		return "", "", failure.New(errdefs.ErrFailedPrecondition, "credential for %s: the daemon cannot use a registry token", host)
	case c.IdentityToken != "":
		return "", c.IdentityToken, nil
	}
	return c.Username, c.Password, nil
}
