package enter

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// KeepStdin puts back what was read from the standard input, nil if nothing was, for
// this program when it is executed again in a namespace. Without a command line to
// execute, and for root, that never is.
func KeepStdin(caller config.Caller, data []byte) error {
	if data == nil || caller.UID == 0 || len(caller.Args) == 0 {
		return nil
	}
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("keeping the standard input: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stdin")
	defer f.Close()
	_, err = f.Write(data)
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err == nil {
		err = unix.Dup3(fd, unix.Stdin, 0)
	}
	if err != nil {
		return fmt.Errorf("keeping the standard input: %w", err)
	}
	return nil
}
