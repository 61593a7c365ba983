package store_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// open is what a program does that works with either kind of store: what follows
// does not depend on which it is.
func open(ctx context.Context, o store.Options) (*store.Store, error) {
	if o.Root != "" {
		return root.Open(ctx, o)
	}
	return daemon.Dial(ctx, o)
}

// A blob that is written under a lease stays until the lease is deleted, unless an
// image refers to it by then.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	st, err := open(context.Background(), store.Options{Root: dir, Snapshotter: store.Native})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer st.Close()

	ctx := st.Context(context.Background())
	leased, lease, err := st.Lease(ctx, "example.com/app:1")
	if err != nil {
		fmt.Println(err)
		return
	}
	blob := ocispec.Descriptor{Digest: digest.FromString("a layer"), Size: 7}
	err = content.WriteBlob(leased, st.Content, "layer", strings.NewReader("a layer"), blob)
	fmt.Println("written:", err == nil)

	fmt.Println(lease.Delete(ctx), st.Collect(ctx, store.GarbageNow))
	_, err = st.Content.Info(ctx, blob.Digest)
	fmt.Println("kept:", err == nil)
	// Output:
	// written: true
	// <nil> <nil>
	// kept: false
}
