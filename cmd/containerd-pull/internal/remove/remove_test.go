package remove_test

import (
	"context"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/remove"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// records are image records of which one is written anew just before it is removed, or
// has gone. They heed the target as daemons before 2.0 do: not at all.
type records struct {
	images.Store
	now     map[string]digest.Digest
	deleted []string
}

func (r *records) Get(_ context.Context, name string) (images.Image, error) {
	return images.Image{Name: name, Target: ocispec.Descriptor{Digest: r.now[name]}}, nil
}

func (r *records) Delete(_ context.Context, name string, _ ...images.DeleteOpt) error {
	r.deleted = append(r.deleted, name)
	return nil
}

func TestRunKeepsWhatMoved(t *testing.T) {
	before, after := digest.FromString("before"), digest.FromString("after")
	r := &records{now: map[string]digest.Digest{"same": before, "moved": after}}
	target := ocispec.Descriptor{Digest: before}
	removal := remove.Removal{
		Store:  &store.Store{Parts: store.Parts{Images: r, Namespace: "default"}},
		Images: []images.Image{{Name: "same", Target: target}, {Name: "moved", Target: target}},
	}
	var shown output.Removed
	err := removal.Run(t.Context(), &shown)
	if err == nil || !strings.Contains(err.Error(), "removing moved: it stays") || strings.Join(shown.Removed, " ") != "same" || strings.Join(r.deleted, " ") != "same" {
		t.Errorf("got %v, shown %q and deleted %q", err, shown.Removed, r.deleted)
	}
}
