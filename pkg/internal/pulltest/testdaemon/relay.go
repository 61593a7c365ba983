package testdaemon

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Relay is a socket of this process that leads to the one at address, as that
// of a daemon elsewhere would. It ends with the test.
func Relay(t testing.TB, address string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
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
