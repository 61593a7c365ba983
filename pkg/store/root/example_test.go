package root_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// A root is containerd's own layout on disk. A daemon that is started on it
// finds what is in it.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	st, err := root.Open(context.Background(), store.Options{Root: filepath.Join(dir, "containerd"), Snapshotter: "native", Namespace: "k8s.io"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer st.Close()
	images, err := st.Images.List(st.Context(context.Background()))
	fmt.Println(len(images), err)
	// Output: 0 <nil>
}
