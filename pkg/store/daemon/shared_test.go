package daemon_test

import (
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestDropBesideAnotherWriter drops a blob that two namespaces have, and finds that
// another client has written it again: the other namespace has its record again too.
func TestDropBesideAnotherWriter(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	const text = "in two namespaces"
	d := testdaemon.Start(t, testdaemon.Options{})
	dial := func(namespace string) *store.Store {
		return teststore.Dial(t, store.Options{Address: d.Address, Namespace: namespace})
	}
	neighbour, s, client := dial("one"), dial("two"), dial("two")
	there, _, _ := teststore.Lease(t, neighbour, teststore.Ref)
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	dgst := teststore.Blob(there, t, neighbour, text)
	desc := ocispec.Descriptor{Digest: dgst, Size: int64(len(text))}
	if err := content.WriteBlob(ctx, s.Content, "first", strings.NewReader(text), desc); err != nil {
		t.Fatal(err)
	}

	if err := s.Drop(ctx, dgst); err != nil {
		t.Fatal(err)
	}
	if _, err := neighbour.Content.Info(there, dgst); !errdefs.IsNotFound(err) {
		t.Errorf("got %v of the neighbour's record while the blob is away, want not found", err)
	}
	teststore.Blob(ctx, t, client, text)
	if _, err := s.Content.Writer(ctx, content.WithRef("again"), content.WithDescriptor(desc)); !errdefs.IsAlreadyExists(err) {
		t.Errorf("got %v of writing it, want that it exists", err)
	}
	if _, err := neighbour.Content.Info(there, dgst); err != nil {
		t.Errorf("got %v of the neighbour's record, want it back", err)
	}
	if left := teststore.Leases(t, neighbour); len(left) != 1 {
		t.Errorf("got leases %v, want the neighbour's own", left)
	}
}
