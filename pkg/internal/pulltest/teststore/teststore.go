// Package teststore opens stores for tests, and writes to them what a pull would:
// leases, blobs, ingests, snapshots and image records.
package teststore

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// Ref is the reference of the image that is pulled.
const Ref = "docker.io/library/alpine:latest"

// Open opens an embedded root, in a folder of its own unless o names one, and
// closes it when the test ends.
func Open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	st, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, st)
}

// Dial connects to a daemon and closes the connection when the test ends.
func Dial(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	st, err := daemon.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, st)
}

func closing(t testing.TB, s *store.Store) *store.Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// Lease opens a lease and returns its ID with the context that carries it.
func Lease(t testing.TB, s *store.Store, ref string) (context.Context, *store.Lease, string) {
	t.Helper()
	ctx, l, err := s.Lease(s.Context(t.Context()), ref)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := leases.FromContext(ctx)
	return ctx, l, id
}

// Leases lists the leases by ID.
func Leases(t testing.TB, s *store.Store) map[string]leases.Lease {
	t.Helper()
	byID := map[string]leases.Lease{}
	list, err := s.Leases.List(s.Context(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		byID[l.ID] = l
	}
	return byID
}

// Blob puts a blob into the content store.
func Blob(ctx context.Context, t testing.TB, s *store.Store, text string) digest.Digest {
	t.Helper()
	return write(ctx, t, s, text, true)
}

// Ingest begins a blob: all its bytes are in an ingest that is not committed.
func Ingest(ctx context.Context, t testing.TB, s *store.Store, text string) digest.Digest {
	t.Helper()
	return write(ctx, t, s, text, false)
}

// IngestRef is the key of the ingest of the blob dgst.
func IngestRef(dgst digest.Digest) string { return "layer-" + dgst.String() }

func write(ctx context.Context, t testing.TB, s *store.Store, text string, whole bool) digest.Digest {
	t.Helper()
	desc := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	w, err := content.OpenWriter(ctx, s.Content, content.WithRef(IngestRef(desc.Digest)), content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if whole {
		if err := w.Commit(ctx, desc.Size, desc.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return desc.Digest
}

// Prepare makes an active snapshot.
func Prepare(ctx context.Context, t testing.TB, s *store.Store, key, parent string) {
	t.Helper()
	if _, err := s.Snapshotter.Prepare(ctx, key, parent); err != nil {
		t.Fatalf("preparing %s: %v", key, err)
	}
}

// Commit makes a committed snapshot.
func Commit(ctx context.Context, t testing.TB, s *store.Store, name, parent string) {
	t.Helper()
	Prepare(ctx, t, s, "active "+name, parent)
	if err := s.Snapshotter.Commit(ctx, name, "active "+name); err != nil {
		t.Fatalf("committing %s: %v", name, err)
	}
}

// Image is an image record that points to a manifest with the given content.
func Image(name, content string, labels map[string]string) images.Image {
	return images.Image{Name: name, Labels: labels, Target: ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(content), Size: int64(len(content)),
	}}
}
