package registry

import (
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
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
