package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// That a daemon cannot be reached shows in the class of the error.
func ExampleDial() {
	_, err := daemon.Dial(context.Background(), store.Options{Address: "/nonexistent/containerd.sock", ConnectTimeout: time.Second})
	fmt.Println(errors.Is(err, store.ErrUnavailable))
	// Output: true
}
