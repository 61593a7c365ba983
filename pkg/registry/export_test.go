package registry

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// What the tests of package registry_test look at from inside: parsers of
// foreign bytes, and the judgement of an address that no test machine has.

// JudgeRedirect asks whether the registry called name may redirect to the host
// target, which is at addr, with these Options.PrivateRedirects.
func JudgeRedirect(name, target, addr string, private ...string) error {
	r := &Registry{opts: Options{PrivateRedirects: private}}
	return r.judgeReach(&host{Host: hosts.Host{Name: name}}, target, addr)
}

// IsTemporary reports whether an error of the network is tried again in full.
func IsTemporary(err error) bool { return networkFault(err).isTemporary() }

// IsSafeFor reports whether a redirect by the host called name may have a secret sent
// to target.
func IsSafeFor(t *testing.T, name, target string) bool {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Host: hosts.Host{Name: name}}
	h.via.own = &http.Transport{}
	return h.isSafeFor(u)
}

// ConnectBy has the hosts of ref's registry be reached by dial.
func ConnectBy(t *testing.T, r *Registry, ref source.Ref, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	t.Helper()
	up, err := r.upstream(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range up.hosts {
		h.via.own.DialContext = dial
	}
}
