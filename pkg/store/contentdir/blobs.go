package contentdir

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// BlobFile is the place of a blob in the content folder root.
func BlobFile(root string, dgst digest.Digest) string {
	return filepath.Join(root, "blobs", dgst.Algorithm().String(), dgst.Encoded())
}

// Blobs is a content folder of which blobs are read and nothing else: to open
// containerd's content store makes folders and files. No link is followed.
type Blobs string

// Damage says what is wrong with the file of a blob of size bytes in a content
// folder, which is rest beneath dir, and is empty if nothing is. Its bytes are not
// read.
func Damage(dir *os.File, rest string, dgst digest.Digest, size int64) (string, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), BlobFile(rest, dgst), &st, unix.AT_SYMLINK_NOFOLLOW)
	kind := st.Mode & unix.S_IFMT
	switch {
	case err == unix.ENOENT, err == unix.ENOTDIR:
		return "its file is gone", nil
	case err != nil:
		return "", fmt.Errorf("looking at blob %s: %w", dgst, err)
	case kind == unix.S_IFDIR:
		return "there is a folder in place of its file", nil
	case kind != unix.S_IFREG:
		return "there is no file in its place, but something else", nil
	case st.Size != size:
		return fmt.Sprintf("its file has %d bytes, not %d", st.Size, size), nil
	}
	return "", nil
}
