package testdaemon

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// Relay is a socket of this process that leads to the one at address, as that
// of a daemon elsewhere would. It ends with the test.
func Relay(t testing.TB, address string) string {
	t.Helper()
	dir := pulltest.Must(os.MkdirTemp("", "relay"))(t) // short enough for a socket
	path := filepath.Join(dir, "sock")
	l := pulltest.Must(net.Listen("unix", path))(t)
	var ends sync.WaitGroup
	over := make(chan struct{})
	ends.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			ends.Go(func() { relay(conn, address, over) })
		}
	})
	t.Cleanup(func() {
		close(over)
		l.Close() // also ends Accept
		ends.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return path
}

// relay ends when either side has closed its connection, or when all is over.
func relay(conn net.Conn, address string, over <-chan struct{}) {
	defer conn.Close()
	other, err := net.Dial("unix", address)
	if err != nil {
		return // the client sees a connection that ends
	}
	defer other.Close()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{conn, other}, {other, conn}} {
		go func() {
			io.Copy(pair[0], pair[1]) // an error ends it as the end does
			done <- struct{}{}
		}()
	}
	select {
	case <-done:
	case <-over:
	}
}
