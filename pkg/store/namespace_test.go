package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// writeBlob puts text into the content store of ctx's namespace.
func writeBlob(ctx context.Context, t *testing.T, s *store.Store, text string, labels map[string]string) digest.Digest {
	t.Helper()
	desc := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	err := content.WriteBlob(ctx, s.Content, "test-"+text, strings.NewReader(text), desc, content.WithLabels(labels))
	if err != nil {
		t.Fatal(err)
	}
	return desc.Digest
}

// TestOtherNamespaces: what other namespaces have is known, and gc does not count as
// freed what it leaves to them.
func TestOtherNamespaces(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	for _, p := range teststore.TwoPlaces() {
		t.Run(p.Title, func(t *testing.T) {
			s, _, _ := p.Open(t)
			ctx := s.Context(t.Context())
			other := namespaces.WithNamespace(t.Context(), "other")
			root := map[string]string{"containerd.io/gc.root": "now"}
			shared := writeBlob(other, t, s, "shared", root)
			if _, err := s.Images.Create(other, images.Image{Name: "app:1", Target: ocispec.Descriptor{MediaType: "x", Digest: shared, Size: 6}}); err != nil {
				t.Fatal(err)
			}
			lease, err := s.Leases.Create(ctx, leases.WithID(store.LeasePrefix+"dead-aaaaaaaa"),
				leases.WithLabels(map[string]string{store.LabelRef: "app:1", store.LabelOwner: "x/y/1/1"}))
			if err != nil {
				t.Fatal(err)
			}
			leased := leases.WithLease(ctx, lease.ID)
			writeBlob(leased, t, s, "shared", nil)
			own := writeBlob(leased, t, s, "own", nil)

			there, err := s.Elsewhere(ctx, []digest.Digest{shared, own})
			if err != nil || !there[shared] || there[own] {
				t.Errorf("got %v, %v, want the shared blob elsewhere", there, err)
			}
			for _, tc := range []struct {
				names []string
				want  []string
			}{{nil, []string{"other"}}, {[]string{"app:1"}, []string{"other"}}, {[]string{"app:1", "app:2"}, nil}} {
				if got, err := s.NamespacesWith(ctx, tc.names...); err != nil || !slices.Equal(got, tc.want) {
					t.Errorf("got namespaces %v with %v, %v, want %v", got, tc.names, err, tc.want)
				}
			}
			for _, dryRun := range []bool{true, false} {
				freed, err := s.GC(t.Context(), dryRun)
				if want := (store.Sum{Count: 1, Bytes: 3}); err != nil || freed.Blobs != want || len(freed.Leases) != 1 {
					t.Errorf("dry run %v: got %+v, %v, want one lease and blobs %+v", dryRun, freed, err, want)
				}
			}
		})
	}
}
