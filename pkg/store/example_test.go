package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
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

// That a daemon cannot be reached shows in the class of the error.
func ExampleDial() {
	_, err := daemon.Dial(context.Background(), store.Options{Address: "/nonexistent/containerd.sock", ConnectTimeout: time.Second})
	fmt.Println(errors.Is(err, store.ErrUnavailable))
	// Output: true
}
