package registry

import (
	"context"
	"strings"
)

// OwnHost gives cred to the reference's own host and to nobody else: no
// mirror has a right to it, even if it serves the same image.
func OwnHost(cred Credential) Credentials {
	return func(_ context.Context, host string, ref Ref) (Credential, error) {
		if !isOwnHost(host, ref.Domain) {
			return Credential{}, nil
		}
		return cred, nil
	}
}

// isOwnHost says whether host, as contacted, is the registry called domain.
// The port of HTTPS may be left out.
func isOwnHost(host, domain string) bool {
	plain := func(name string) string { return canonicalHost(strings.TrimSuffix(strings.ToLower(name), ":443")) }
	return plain(host) == plain(domain)
}
