package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
)

const (
	// imageName is what snapshotter erofs calls the image of a layer, beside the folder
	// that its mounts name.
	imageName = "layer.erofs"
	// verityName is what its dm-verity data is called, beside it.
	verityName = imageName + ".dmverity"
	// mergedName is what stands for the images of several snapshots, where it is not empty.
	mergedName = "fsmeta.erofs"
	// unfinished is an image that is being made. It goes with its snapshot.
	unfinished = imageName + ".unfinished"
	// snapshotsName is the folder in which each snapshot has its own.
	snapshotsName = "snapshots"
	imageMode     = 0o644 // that of mkfs.erofs
	folderMode    = 0o755 // that of the folder beside
)

// imagesOf reads the mounts of snapshotter erofs: the folder beside which the image of
// the layer belongs, and the images of the layers below, nearest first.
func imagesOf(mounts []mount.Mount) (upper string, lowers []string, err error) {
	if len(mounts) == 0 {
		return "", nil, errNoFolder
	}
	top := mounts[len(mounts)-1]
	switch {
	case len(mounts) == 1 && (top.Type == "bind" || top.Type == "overlay"): // also the folders beside images, as a root shows them
		if upper, lowers, err = foldersOf(mounts); err != nil {
			return "", nil, err
		}
		for i, dir := range lowers {
			lowers[i] = path.Join(path.Dir(dir), imageName)
		}
		return upper, lowers, nil
	case isOverlay(top):
		for _, o := range top.Options {
			if dir, found := strings.CutPrefix(o, "upperdir="); found {
				upper = dir
			}
		}
		mounts = mounts[:len(mounts)-1]
	case len(mounts) > 1 && strings.HasSuffix(top.Type, "/bind"): // of the one image that stands for all
		mounts = mounts[:len(mounts)-1]
	}
	for _, m := range mounts {
		if m.Type != "erofs" {
			return "", nil, errNoFolder // a block device among them, say
		}
		lowers = append(lowers, parts(m)...)
	}
	return upper, lowers, nil
}

// parts are the images of layers in a mount, nearest first: those that it merges are
// its devices, and are named from the bottom up.
func parts(m mount.Mount) (all []string) {
	for _, o := range m.Options {
		if device, found := strings.CutPrefix(o, "device="); found {
			all = append(all, device)
		}
	}
	if all == nil {
		return []string{m.Source}
	}
	slices.Reverse(all)
	return all
}

// CreateImage makes the file for the image of the layer, in the place of one that was
// begun. It is open for reading and writing, and the caller closes it.
func (u *Upper) CreateImage() (*os.File, error) {
	dir, err := u.beside()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := unix.Unlinkat(int(dir.Fd()), unfinished, 0); err != nil && err != unix.ENOENT {
		return nil, &os.PathError{Op: "remove", Path: path.Join(dir.Name(), unfinished), Err: err}
	}
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), unfinished, flags, imageMode)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: path.Join(dir.Name(), unfinished), Err: err}
	}
	return os.NewFile(uintptr(fd), path.Join(dir.Name(), unfinished)), nil
}

// OpenImage opens what CreateImage made.
func (u *Upper) OpenImage() (*os.File, error) {
	dir, err := u.beside()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return beneath.File(dir, unfinished, os.O_RDWR)
}

// FinishImage gives the image the name under which the snapshotter looks for it.
func (u *Upper) FinishImage() error {
	dir, err := u.beside()
	if err != nil {
		return err
	}
	defer dir.Close()
	return rename(dir, unfinished, dir, imageName)
}

// ImageUsage is what the image takes, once it is finished.
func (u *Upper) ImageUsage() (usage snapshots.Usage, err error) {
	dir, err := u.beside()
	if err != nil {
		return usage, err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), imageName, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return usage, &os.PathError{Op: "stat", Path: path.Join(dir.Name(), imageName), Err: err}
	}
	return snapshots.Usage{Inodes: 1, Size: st.Blocks * 512}, nil
}

// beside is the folder of the snapshot.
func (u *Upper) beside() (*os.File, error) { return beneath.Open(u.root, path.Dir(u.name)) }

func rename(from *os.File, name string, into *os.File, to string) error {
	if err := unix.Renameat2(int(from.Fd()), name, int(into.Fd()), to, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: path.Join(from.Name(), name), New: path.Join(into.Name(), to), Err: err}
	}
	return nil
}

// moveImage puts the image of the snapshot beside the folder of that name, unless there
// is one by now.
func (u *Upper) moveImage(from, into *os.File, folder string) (err error) {
	if err := unix.Mkdirat(int(into.Fd()), folder, folderMode); err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkdir", Path: path.Join(into.Name(), folder), Err: err}
	}
	if what, err := ImageDamage(into, folder); what == "" || err != nil {
		return err
	}
	if err := u.fits(into); err != nil {
		return err
	}
	for _, kind := range []int{0, unix.AT_REMOVEDIR} {
		err = unix.Unlinkat(int(into.Fd()), imageName, kind)
		if err != unix.EISDIR {
			break
		}
	}
	if err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "remove", Path: path.Join(into.Name(), imageName), Err: err}
	}
	return rename(from, imageName, into, imageName)
}

// fits is nil if another image can take the place of the one in the folder into. Data
// that containerd has derived from that would not go with it, and mounts would fail or
// mix files.
func (u *Upper) fits(into *os.File) error {
	var st unix.Stat_t
	switch err := unix.Fstatat(int(into.Fd()), verityName, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil:
		return derived(path.Join(into.Name(), verityName), "is dm-verity data of the image that is lost")
	case err != unix.ENOENT:
		return &os.PathError{Op: "stat", Path: path.Join(into.Name(), verityName), Err: err}
	}
	merged, err := besideAny(u.root, mergedName) // which of the layers it stands for is not known
	if merged == "" || err != nil {
		return err
	}
	return derived(merged, "merges images of layers as they were")
}

func derived(name, what string) error {
	return failure.New(errdefs.ErrDataLoss, "%s %s, and does not fit a new one", name, what).
		WithHint("remove the containers and snapshots on top of it, then the snapshot itself, with ctr snapshots rm, and pull again")
}

// removeImage removes the image, finished or not.
func (u *Upper) removeImage() error {
	dir, err := u.beside()
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range []string{unfinished, imageName} {
		if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "remove", Path: path.Join(dir.Name(), name), Err: err}
		}
	}
	return nil
}

// openImage opens an image of a layer below. It lies beneath the folder of the
// snapshotter, or in one of the caches that its configuration names.
func openImage(root *os.File, name string) (*os.File, error) {
	open := func() (*os.File, error) { return beneath.Open(root, path.Dir(name)) }
	if path.IsAbs(name) {
		open = func() (*os.File, error) { return beneath.Root(path.Dir(name)) }
	}
	dir, err := open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return beneath.File(dir, path.Base(name), os.O_RDONLY)
}

// ImageDamage says what is wrong with the image of a layer beside its folder, name
// beneath that of the snapshotter, and is empty if nothing is. Of its content it looks
// at the superblock alone.
func ImageDamage(root *os.File, name string) (string, error) {
	var st unix.Stat_t
	name = path.Join(path.Dir(name), imageName)
	failed := func(op string, err error) (string, error) {
		return "", fmt.Errorf("looking at the image of a snapshot: %w", Denied(&os.PathError{Op: op, Path: path.Join(root.Name(), name), Err: err}))
	}
	err := unix.Fstatat(int(root.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == unix.ENOTDIR:
		return "its EROFS image is gone", nil
	case err != nil:
		return failed("stat", err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return "there is something else in place of its EROFS image", nil
	case st.Size == 0:
		return "its EROFS image is empty", nil
	}
	fd, err := unix.Openat(int(root.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", err)
	}
	defer unix.Close(fd)
	b := make([]byte, min(st.Size, maxSuper))
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return failed("read", err)
	}
	return superDamage(b[:n], st.Size), nil
}

// The superblock of EROFS lies in the first block of an image and has a checksum over the
// rest of that (fs/erofs/erofs_fs.h and super.c in Linux).
const (
	superOffset  = 1024
	superSize    = 128
	maxSuper     = 1 << 16 // the largest block
	superMagic   = 0xe0f5e1e2
	hasChecksum  = 1 << 0 // in the compatible features
	isLarge      = 1 << 7 // in the incompatible ones: the number of blocks has 48 bits
	leastBits    = 9      // of the size of a block
	greatestBits = 16
)

// superDamage says what is wrong with an image of that size that begins with b.
func superDamage(b []byte, size int64) string {
	if len(b) < superOffset+superSize {
		return "its EROFS image is cut off"
	}
	order := binary.LittleEndian
	super := b[superOffset:]
	bits := super[12]
	if order.Uint32(super) != superMagic || bits < leastBits || bits > greatestBits {
		return "there is no EROFS image in its file"
	}
	covered := int64(1) << bits // by the checksum
	if covered > superOffset {
		covered -= superOffset
	}
	blocks := int64(order.Uint32(super[36:]))
	switch {
	case order.Uint32(super[80:])&isLarge == 0 && size < blocks<<bits, int64(len(super)) < covered:
		return "its EROFS image is cut off"
	case order.Uint32(super[8:])&hasChecksum == 0:
		return ""
	}
	sum := order.Uint32(super[4:])
	super = slices.Clone(super[:covered])
	order.PutUint32(super[4:], 0)
	if ^crc32.Checksum(super, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return "the superblock of its EROFS image is damaged"
	}
	return ""
}

// VerityData names an image of the snapshotter whose folder is root that has dm-verity
// data; it is empty if none has.
func VerityData(root *os.File) (string, error) { return besideAny(root, verityName) }

// besideAny names a file in the folder of any snapshot beneath root that is called name
// and is not empty; it is empty if there is none.
func besideAny(root *os.File, name string) (string, error) {
	dir, err := beneath.Open(root, snapshotsName)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	ids, err := dir.Readdirnames(-1)
	if err != nil {
		return "", fmt.Errorf("listing snapshots: %w", err)
	}
	for _, id := range ids {
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), path.Join(id, name), &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Size > 0 {
			return path.Join(dir.Name(), id, name), nil
		}
	}
	return "", nil
}
