package token

import (
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// IsServerOf reports whether a token server is known to be that of a registry whose
// name is in another domain. Others of this kind are for token_hosts.
func IsServerOf(server, registry string) bool {
	registry = source.CanonicalHost(registry)
	for _, known := range []struct{ before, after, server string }{
		// Scaleway: rg.REGION.scw.cloud names
		// https://api.scaleway.com/registry-internal/v1/regions/REGION/tokens.
		{"rg.", ".scw.cloud", "api.scaleway.com"},
	} {
		rest, begins := strings.CutPrefix(registry, known.before)
		region, ends := strings.CutSuffix(rest, known.after)
		if begins && ends && !strings.Contains(region, ".") && source.SameHost(server, known.server) {
			return true
		}
	}
	return false
}
