package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	dockerconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Delegate implements source.Delegator: it returns the settings for ref that
// containerd's transfer service can take over.
func (r *Registry) Delegate(ref source.Ref) (source.Delegation, error) {
	o := r.opts
	var lost []string
	for name, set := range map[string]bool{
		"skipping the check of certificates": o.SkipVerify || o.Insecure,
		"a CA or client certificate":         o.CA != "" || o.Cert != "",
		"mirrors of a profile":               len(o.Mirrors) > 0,
		"a proxy of a profile":               o.Proxy != "",
		"dumps and traces of HTTP":           o.Dump != nil || o.Trace != nil,
	} {
		if set {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	dirs, err := dirsOf(o.HostsDirs, ref.Domain)
	if err != nil {
		return source.Delegation{}, err
	}
	if len(dirs) > 1 {
		lost = append(lost, "several hosts directories for "+ref.Domain+" ("+strings.Join(dirs, ", ")+")")
	}
	if len(lost) > 0 {
		return source.Delegation{}, fmt.Errorf("the daemon cannot take over %s: %w", strings.Join(lost, ", "), errdefs.ErrFailedPrecondition)
	}
	d := source.Delegation{PlainHTTP: o.PlainHTTP}
	if len(dirs) == 1 {
		d.HostsDir = dirs[0]
	}
	if o.Credentials != nil {
		d.Credentials = func(ctx context.Context, host string) (string, string, error) { return r.delegated(ctx, host, ref) }
	}
	return d, nil
}

// dirsOf returns those of dirs that say something about the registry domain.
func dirsOf(dirs []string, domain string) ([]string, error) {
	var found []string
	for _, dir := range dirs {
		_, err := dockerconfig.HostDirFromRoot(dir)(domain)
		if err == nil {
			found = append(found, dir)
		} else if !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("looking for %s in %s: %w: %w", domain, dir, errdefs.ErrFailedPrecondition, err)
		}
	}
	return found, nil
}

func (r *Registry) delegated(ctx context.Context, host string, ref source.Ref) (string, string, error) {
	c, err := r.opts.Credentials(ctx, host, ref)
	switch {
	case err != nil:
		return "", "", err
	case c.RegistryToken != "":
		return "", "", fmt.Errorf("credential for %s: %w", host, errors.Join(errdefs.ErrFailedPrecondition, errors.New("the daemon cannot use a registry token")))
	case c.IdentityToken != "":
		return "", c.IdentityToken, nil
	}
	return c.Username, c.Password, nil
}
