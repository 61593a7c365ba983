package contentdir

import (
	"context"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BlobFile is the place of a blob in the content folder root.
func BlobFile(root string, dgst digest.Digest) string {
	return filepath.Join(root, "blobs", dgst.Algorithm().String(), dgst.Encoded())
}

// Blobs is a content folder of which blobs are read and nothing else; to open
// containerd's content store would make its folders.
type Blobs string

// ReaderAt implements content.Provider.
func (root Blobs) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, err
	}
	return local.OpenReader(BlobFile(string(root), desc.Digest))
}
