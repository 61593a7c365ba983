package store

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// File systems that unix does not know.
const (
	bcachefsMagic = 0xca451a4e
	zfsMagic      = 0x2fc12fc1
)

// Space is what the file system of a folder has free.
type Space struct {
	Path   string // for people to read
	Device uint64 // the same for folders of one file system
	// Bytes that root can still write; what is reserved for root counts.
	Bytes int64
	// Size is that of the whole file system, and Reserve what is to stay free of
	// it: with one, Bytes are without those that are root's. See FreeSpace.Keep.
	Size, Reserve int64
	// Inodes that are free, or -1 where the file system makes them as needed.
	Inodes   int64
	ReadOnly bool
	// Compresses reports whether files may take less than their size.
	Compresses bool

	available int64 // bytes that not only root can write
	place     *Place
}

// FreeSpace is the space for blobs and for snapshots. A folder that is not known,
// or not proven to be the daemon's, is nil.
type FreeSpace struct {
	Content, Snapshots *Space
	// Lazy reports whether the snapshotter may make snapshots of layers that
	// are not fetched.
	Lazy bool
}

// Holds reports whether the blob is in the content folder, in whatever namespace:
// then it takes no more space.
func (r FreeSpace) Holds(dgst digest.Digest) bool {
	if r.Content == nil {
		return false
	}
	_, err := r.Content.blobSize(dgst)
	return !errors.Is(err, os.ErrNotExist)
}

// Misfits reports whether a file of another size lies in the place of the blob
// desc.
func (r FreeSpace) Misfits(desc ocispec.Descriptor) bool {
	if r.Content == nil {
		return false
	}
	size, err := r.Content.blobSize(desc.Digest)
	return err == nil && size != desc.Size
}

// blobSize is the size of a blob's file in a content folder.
func (s *Space) blobSize(dgst digest.Digest) (int64, error) {
	var st unix.Stat_t
	name := contentdir.BlobFile(s.place.Rest, dgst)
	err := unix.Fstatat(int(s.place.Dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st.Size, err
}

// FreeSpace looks at the space for a pull. Of snapshotters, only those are known
// that keep their snapshots as plain folders or images.
func (s *Store) FreeSpace(ctx context.Context) FreeSpace {
	blobs, snapshots := s.backend.Folders(ctx)
	r := FreeSpace{Content: spaceOf(blobs), Lazy: s.Name != Overlayfs && s.Name != Native && s.Name != Erofs}
	if r.Content != nil && !r.Lazy {
		r.Snapshots = spaceOf(snapshots)
	}
	return r
}

// spaceOf is nil for a folder that is not known.
func spaceOf(place *Place) *Space {
	if place == nil {
		return nil
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if fd := int(place.Dir.Fd()); unix.Fstatfs(fd, &fs) != nil || unix.Fstat(fd, &st) != nil {
		return nil
	}
	space := &Space{
		Path: place.Path(), Device: st.Dev, Bytes: int64(fs.Bfree) * fs.Bsize,
		Inodes: int64(fs.Ffree), ReadOnly: fs.Flags&unix.ST_RDONLY != 0,
		Compresses: slices.Contains([]uint32{unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, bcachefsMagic, zfsMagic}, uint32(fs.Type)),
		Size:       int64(fs.Blocks) * fs.Bsize, available: int64(fs.Bavail) * fs.Bsize,
		place: place,
	}
	if fs.Files == 0 {
		space.Inodes = -1
	}
	return space
}
