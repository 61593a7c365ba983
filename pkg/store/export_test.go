package store

import (
	"context"
	"os"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"

	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// VerifiersOf lets the tests show plugins that no containerd comes with.
func VerifiersOf(ctx context.Context, plugins []*introspectionapi.Plugin) Verifiers {
	return verifiersOf(ctx, plugins, 0)
}

// ConfigFlag lets the tests read command lines of containerd.
func ConfigFlag(args []string) (string, bool) { return configFlag(args) }

// IngestData is the file of a daemon's ingest, as a writer finds it.
func (s *Store) IngestData(ref string) *os.File {
	return contentdir.OpenIngest(s.traits.Load().contentRoot, s.Namespace, ref, os.O_RDONLY)
}
