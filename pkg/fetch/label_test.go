package fetch_test

import (
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestSourceLabels gives a blob one source after the other, by containerd's own
// function and by Label, and compares the labels after each step.
func TestSourceLabels(t *testing.T) {
	long := "example.com/" + strings.Repeat("long/", 30) + "name:1"
	refs := []string{
		"alpine", "alpine:3", "debian@" + digest.FromString("x").String(), "docker.io/team/app:1", "localhost:5000/app:1", "example.com/b:1",
		"example.com:8443/a:1", "example.com/c/d:1", long,
	}
	for range 30 { // until the list is longer than a label may be
		long = strings.Replace(long, "name", "names", 1)
		refs = append(refs, long)
	}
	each(t, 100, func(t *testing.T, b *bench) {
		desc := b.blob.Desc
		f := b.fetcher()
		if _, err := f.Store(b.ctx, b.blob, nil); err != nil {
			t.Fatal(err)
		}
		labelled := desc
		second := pulltest.NewBlob([]byte("the same labels"))
		b.reg.AddBlob(second)
		labelled.Digest, labelled.Size = second.Digest, second.Size
		b.blob.Desc = labelled
		if _, err := f.Store(b.ctx, b.blob, nil); err != nil {
			t.Fatal(err)
		}
		for _, name := range refs {
			ref, err := source.ParseRef(name)
			if err != nil {
				t.Fatal(err)
			}
			handler, err := docker.AppendDistributionSourceLabel(b.store.Content, ref.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := handler(b.ctx, desc); err != nil {
				t.Fatal(err)
			}
			if err := f.Label(b.ctx, labelled.Digest, fetch.From(ref).Labels); err != nil {
				t.Fatal(err)
			}
			want, got := labels(t, b, desc.Digest), labels(t, b, labelled.Digest)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("labels after %s differ from containerd's (-want +got):\n%s", ref.Name, diff)
			}
		}
	})
}

func labels(t *testing.T, b *bench, dgst digest.Digest) map[string]string {
	t.Helper()
	info, err := b.store.Content.Info(b.ctx, dgst)
	if err != nil {
		t.Fatal(err)
	}
	return info.Labels
}

// TestLabelOfWhatIsNotThere is no error: the blob was collected, or never
// wanted.
func TestLabelOfWhatIsNotThere(t *testing.T) {
	each(t, 100, func(t *testing.T, b *bench) {
		if err := b.fetcher().Label(b.ctx, digest.FromString("absent"), map[string]string{"a": "b"}); err != nil {
			t.Errorf("got %v, want nothing", err)
		}
	})
}
