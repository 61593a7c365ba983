package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Namespaces lists those of the daemon, or of the root, sorted.
func (s *Store) Namespaces(ctx context.Context) ([]string, error) {
	all, err := s.backend.Namespaces(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	slices.Sort(all)
	return all, nil
}

// NamespacesWithImages lists those in which there are image records.
func (s *Store) NamespacesWithImages(ctx context.Context) ([]string, error) {
	all, err := s.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	var some []string
	for _, ns := range all {
		imgs, err := s.Images.List(namespaces.WithNamespace(ctx, ns))
		if err != nil {
			return nil, fmt.Errorf("listing the images of namespace %s: %w", ns, err)
		}
		if len(imgs) > 0 {
			some = append(some, ns)
		}
	}
	return some, nil
}

// Elsewhere returns those of the blobs that other namespaces have. containerd
// takes their bytes from there, unless it is configured to keep namespaces apart.
func (s *Store) Elsewhere(ctx context.Context, blobs []digest.Digest) (map[digest.Digest]bool, error) {
	there := map[digest.Digest]bool{}
	if len(blobs) == 0 {
		return there, nil
	}
	all, err := s.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	for _, ns := range all {
		for _, dgst := range blobs {
			if ns == s.Namespace || there[dgst] {
				continue
			}
			_, err := s.Content.Info(namespaces.WithNamespace(ctx, ns), dgst)
			if err != nil && !errdefs.IsNotFound(err) {
				return nil, fmt.Errorf("looking up blob %s in namespace %s: %w", dgst, ns, err)
			}
			there[dgst] = err == nil
		}
	}
	return there, nil
}
