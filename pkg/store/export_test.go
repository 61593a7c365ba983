package store

import (
	"context"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
)

// VerifiersOf lets the tests show plugins that no containerd comes with.
func VerifiersOf(ctx context.Context, plugins []*introspectionapi.Plugin) Verifiers {
	return verifiersOf(ctx, plugins, 0)
}

// ConfigFlag lets the tests read command lines of containerd.
func ConfigFlag(args []string) (string, bool) { return configFlag(args) }
