package daemon

import (
	"context"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// VerifiersOf lets the tests show plugins that no containerd comes with.
func VerifiersOf(ctx context.Context, plugins []*introspectionapi.Plugin) store.Verifiers {
	return verifiersOf(ctx, plugins, 0)
}

// ConfigFlag lets the tests read command lines of containerd.
func ConfigFlag(args []string) (string, bool) { return configFlag(args) }

// Fake is the Store of a daemon that has nothing but parts.
func Fake(parts store.Parts) *store.Store { return store.New(&daemon{parts: parts}) }

// AsRefusal lets the tests show messages of a daemon.
func AsRefusal(err error) error { return asRefusal(err) }

// SharesFile compares path with what a process sees, whose folder is proc.
func SharesFile(proc, path string) error { return daemonProcess(proc).sharesFile(path) }
