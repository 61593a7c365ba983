package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config/file"
)

// checkDigestFile reports before the pull what would prevent --digestfile from
// being written.
func checkDigestFile(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("--digestfile: %s is a folder", path)
	}
	folder := filepath.Dir(path)
	if err := unix.Access(folder, unix.W_OK); err != nil {
		return fmt.Errorf("--digestfile: folder %s: %w", folder, err)
	}
	return nil
}

// WriteDigestFile writes the digest of each target, as skopeo does: without a
// newline at the end. A file is replaced as a whole or not at all; a pipe or a
// device is written to.
func WriteDigestFile(path string, all []batch.Outcome) error {
	if path == "" {
		return nil
	}
	var digests []string
	for _, one := range all {
		digests = append(digests, one.Result.Target.Digest.String())
	}
	text := []byte(strings.Join(digests, "\n"))
	target, regular, err := follow(path)
	switch {
	case err != nil:
		return fileError(path, err)
	case !regular:
		return fileError(path, os.WriteFile(path, text, 0))
	}
	return fileError(path, file.Write(target, text, 0o644))
}

// follow returns where path leads, and whether there is, or may be made, a
// regular file. The kernel follows the links, because it refuses those that
// others laid into a folder for all (protected_symlinks).
func follow(path string) (target string, regular bool, err error) {
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return path, true, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return path, false, err
	}
	target, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	return target, true, err
}

func fileError(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--digestfile %s: %w", path, err)
}
