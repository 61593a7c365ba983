package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
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

// NamespacesWith lists those that have the image records of all the names, or any
// record without names.
func (s *Store) NamespacesWith(ctx context.Context, names ...string) ([]string, error) {
	all, err := s.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	var some []string
	for _, ns := range all {
		records, err := s.Images.List(namespaces.WithNamespace(ctx, ns))
		if err != nil {
			return nil, fmt.Errorf("listing the images of namespace %s: %w", ns, err)
		}
		has := func(name string) bool {
			return slices.ContainsFunc(records, func(img images.Image) bool { return img.Name == name })
		}
		if len(records) > 0 && !slices.ContainsFunc(names, func(name string) bool { return !has(name) }) {
			some = append(some, ns)
		}
	}
	return some, nil
}

// Elsewhere returns those of the blobs that other namespaces have. containerd
// takes their bytes from there, unless it is configured to keep namespaces apart.
func (s *Store) Elsewhere(ctx context.Context, blobs []digest.Digest) (map[digest.Digest]bool, error) {
	if len(blobs) == 0 {
		return map[digest.Digest]bool{}, nil
	}
	all, err := s.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	return s.Parts.Elsewhere(ctx, all, blobs)
}

// Elsewhere returns those of the blobs that one of the namespaces has which is not
// that of the parts.
func (p Parts) Elsewhere(ctx context.Context, all []string, blobs []digest.Digest) (map[digest.Digest]bool, error) {
	there := map[digest.Digest]bool{}
	for _, ns := range all {
		for _, dgst := range blobs {
			if ns == p.Namespace || there[dgst] {
				continue
			}
			_, err := p.Content.Info(namespaces.WithNamespace(ctx, ns), dgst)
			if err != nil && !errdefs.IsNotFound(err) {
				return nil, fmt.Errorf("looking up blob %s in namespace %s: %w", dgst, ns, err)
			}
			there[dgst] = err == nil
		}
	}
	return there, nil
}
