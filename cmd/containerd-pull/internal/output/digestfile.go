package output

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// checkDigestFile reports before the pull what would prevent --digestfile from
// being written.
func checkDigestFile(path string) error {
	if path == "" {
		return nil
	}
	err := userfile.CheckWrite(path)
	switch {
	case errors.Is(err, unix.EISDIR):
		return fmt.Errorf("--digestfile: %s is a folder", path)
	case err != nil:
		return fmt.Errorf("--digestfile: folder %s: %w", filepath.Dir(path), file.Reason(err))
	}
	return nil
}

// WriteDigestFile writes the digest of each target, as skopeo does: without a
// newline at the end.
func WriteDigestFile(path string, all []batch.Outcome) error {
	if path == "" {
		return nil
	}
	var digests []string
	for _, one := range all {
		digests = append(digests, one.Result.Target.Digest.String())
	}
	if err := userfile.Write(path, []byte(strings.Join(digests, "\n")), 0o644); err != nil {
		return fmt.Errorf("--digestfile %s: %w", path, file.Reason(err))
	}
	return nil
}
