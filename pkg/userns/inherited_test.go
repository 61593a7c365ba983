package userns_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

// TestCloseInherited closes descriptors of namespaces, and nothing else that the
// variable may name.
func TestCloseInherited(t *testing.T) {
	namespace, err := unix.Open("/proc/self/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	userns.CloseInherited(fmt.Sprintf("%d,%d,,x,-1,999999", namespace, file.Fd()))
	var st unix.Stat_t
	if err := unix.Fstat(namespace, &st); !errors.Is(err, unix.EBADF) {
		t.Errorf("got %v of the namespace, want it closed", err)
	}
	if _, err := file.Stat(); err != nil {
		t.Errorf("got %v of a file, want it open", err)
	}
	userns.CloseInherited("")
}
