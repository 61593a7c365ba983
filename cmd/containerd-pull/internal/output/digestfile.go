package output

import (
	"fmt"
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
	target, err := filepath.EvalSymlinks(path)
	if err != nil { // it does not exist yet
		target = path
	}
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		return fileError(path, os.WriteFile(target, text, 0))
	}
	return fileError(path, file.Write(target, text, 0o644))
}

func fileError(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--digestfile %s: %w", path, err)
}
