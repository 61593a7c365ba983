package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
)

// errNoFolder is that of mounts that are not one overlay or one bind mount.
var errNoFolder = errors.New("the snapshot is not a plain folder")

// Upper is a snapshot whose folders are open, or can be opened beneath that of the
// snapshotter. The caller closes it.
type Upper struct {
	// Dir is the folder that becomes the layer; nil for a view.
	Dir *os.File
	// Image reports whether the layer becomes an EROFS image beside Dir, which stays
	// empty: see CreateImage. The layers below are images as well.
	Image bool
	// Overlay is false for a bind mount.
	Overlay bool
	// HasLowers reports whether the mounts name the layers below. A view names
	// its own layer among them.
	HasLowers bool
	// UserXattr reports whether the mount has overlayfs keep its own attributes
	// in user.overlay.* and not in trusted.overlay.*.
	UserXattr bool

	root   *os.File
	name   string   // of Dir, beneath root
	lowers []string // beneath root, nearest first
}

// OpenUpper opens what the mounts of a snapshot name, beneath root alone: the open
// folder of its snapshotter, which outlives the Upper and whose name begins all
// paths of the mounts, except those of cached images. Without a name it is one that
// keeps plain folders.
func OpenUpper(root *os.File, snapshotter string, mounts []mount.Mount) (*Upper, error) {
	read := foldersOf
	if snapshotter == Erofs {
		read = imagesOf
	}
	upper, lowers, err := read(mounts)
	if err != nil {
		return nil, err
	}
	u := &Upper{
		Image: snapshotter == Erofs, Overlay: isOverlay(mounts[len(mounts)-1]), HasLowers: len(lowers) > 0,
		UserXattr: hasUserXattr(mounts), root: root,
	}
	for _, dir := range lowers {
		name, err := nameBeneath(root, dir)
		if err != nil && u.Image && path.IsAbs(dir) {
			name, err = dir, nil
		}
		if err != nil {
			return nil, err
		}
		u.lowers = append(u.lowers, name)
	}
	if upper == "" {
		return u, nil
	}
	if u.name, err = nameBeneath(root, upper); err != nil {
		return nil, err
	}
	u.Dir, err = openFolder(root, u.name)
	return u, err
}

// Move puts the folder, or the image beside it, in the place to beneath the
// snapshotter's, unless there is one with something in it by now. What it lies in is
// made as the snapshotters make it.
func (u *Upper) Move(to string) error {
	from, err := beneath.Open(u.root, path.Dir(u.name))
	if err != nil {
		return err
	}
	defer from.Close()
	into, err := openOrMake(u.root, path.Dir(to))
	if err != nil {
		return err
	}
	defer into.Close()
	if u.Image {
		return u.moveImage(from, into, path.Base(to))
	}
	return u.moveFolder(from, into, path.Base(to))
}

func (u *Upper) moveFolder(from, into *os.File, name string) error {
	kind := 0
	if isFolder(into, name) {
		kind = unix.AT_REMOVEDIR
	}
	switch err := unix.Unlinkat(int(into.Fd()), name, kind); err {
	case nil, unix.ENOENT:
	case unix.ENOTEMPTY:
		return nil
	default:
		return &os.PathError{Op: "remove", Path: path.Join(into.Name(), name), Err: err}
	}
	return rename(from, path.Base(u.name), into, name)
}

// Empty removes what was made of the layer.
func (u *Upper) Empty() error {
	if u.Image {
		return u.removeImage()
	}
	return Empty(u.Dir)
}

// openOrMake opens the folder name beneath root, in which there is the folder that
// it lies in.
func openOrMake(root *os.File, name string) (*os.File, error) {
	above, err := beneath.Open(root, path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	base := path.Base(name)
	err = unix.Mkdirat(int(above.Fd()), base, snapshotMode)
	if err == unix.EEXIST && !isFolder(above, base) {
		if err = unix.Unlinkat(int(above.Fd()), base, 0); err == nil {
			err = unix.Mkdirat(int(above.Fd()), base, snapshotMode)
		}
	}
	if err != nil && err != unix.EEXIST {
		return nil, &os.PathError{Op: "mkdir", Path: path.Join(above.Name(), base), Err: err}
	}
	return beneath.Open(above, base)
}

// snapshotMode is what snapshotters give the folder of a snapshot.
const snapshotMode = 0o700

func isFolder(dir *os.File, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func hasUserXattr(mounts []mount.Mount) bool {
	return slices.ContainsFunc(mounts, func(m mount.Mount) bool { return isOverlay(m) && slices.Contains(m.Options, "userxattr") })
}

// isOverlay reports whether m is an overlay, also one that has containerd fill in paths
// first.
func isOverlay(m mount.Mount) bool {
	return m.Type == "overlay" || strings.HasSuffix(m.Type, "/overlay")
}

// foldersOf reads the folders out of the mounts of a snapshot. There is no upper
// one if the mounts are for reading.
func foldersOf(mounts []mount.Mount) (upper string, lowers []string, err error) {
	if len(mounts) != 1 {
		return "", nil, errNoFolder
	}
	m := mounts[0]
	switch {
	case m.Type == "bind" && m.Source == "":
		return "", nil, errNoFolder
	case m.Type == "bind" && slices.Contains(m.Options, "ro"):
		return "", []string{m.Source}, nil
	case m.Type == "bind":
		return m.Source, nil, nil
	case m.Type != "overlay":
		return "", nil, errNoFolder
	}
	for _, o := range m.Options {
		if dir, found := strings.CutPrefix(o, "upperdir="); found {
			upper = dir
		}
		if dirs, found := strings.CutPrefix(o, "lowerdir="); found {
			lowers = strings.Split(dirs, ":")
		}
	}
	if upper == "" && lowers == nil {
		return "", nil, errNoFolder
	}
	return upper, lowers, nil
}

func nameBeneath(root *os.File, dir string) (string, error) {
	name, ok := strings.CutPrefix(path.Clean(dir), path.Clean(root.Name())+"/")
	if !ok {
		return "", fmt.Errorf("%s does not lie beneath %s, the folder of the snapshotter", dir, root.Name())
	}
	return name, nil
}

// openFolder opens the folder of a layer. It may belong to any user, as the image
// says; those that it lies in are the snapshotter's.
func openFolder(root *os.File, name string) (*os.File, error) {
	above, err := beneath.Open(root, path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	return beneath.Sub(above, path.Base(name))
}

// Lowers opens the layers that the mounts name, nearest first; one that is gone is
// nil. They are to be read only, and the caller closes them.
func (u *Upper) Lowers() ([]*os.File, error) {
	open := openFolder
	if u.Image {
		open = openImage
	}
	all := make([]*os.File, len(u.lowers))
	for i, name := range u.lowers {
		var err error
		if all[i], err = open(u.root, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			CloseAll(all)
			return nil, err
		}
	}
	return all, nil
}

// Close closes the folder.
func (u *Upper) Close() {
	if u.Dir != nil {
		_ = u.Dir.Close() // nothing is lost with a handle on a folder
	}
}

// CloseAll closes folders or images; nil is none.
func CloseAll(folders []*os.File) {
	for _, f := range folders {
		if f != nil {
			_ = f.Close() // nothing is lost with a handle on a folder
		}
	}
}

// Writable reports whether this process can write layers at all, and says why not.
func (s *Store) Writable() (bool, string) {
	if why := s.foreign(); why != "" {
		return false, why
	}
	if userns.RunningInUserNS() {
		return false, "running in a user namespace"
	}
	if missing := missingCapabilities(); missing != nil {
		return false, missing.Error()
	}
	return true, ""
}

// foreign says why the files of the snapshotter are not for this process to read and
// write, and is empty if they are.
func (s *Store) foreign() string {
	switch s.Name {
	case Overlayfs, Native:
		return ""
	case Erofs:
		if t := s.Traits(); t.Rebase || t.AppliesHere {
			return ""
		}
		return "snapshotter erofs is the daemon's to read and write before containerd 2.2"
	}
	return fmt.Sprintf("snapshotter %s is the daemon's to read and write", s.Name)
}

// missingCapabilities is nil if this process has what writing a layer takes: device
// nodes, owners, modes, file capabilities, and overlay's trusted attributes.
func missingCapabilities() error {
	needed := []int{unix.CAP_SYS_ADMIN, unix.CAP_MKNOD, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_SETFCAP}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading the capabilities of this process: %w", err)
	}
	if !slices.ContainsFunc(needed, func(c int) bool { return data[c/32].Effective&(1<<(c%32)) == 0 }) {
		return nil
	}
	return errors.New("not privileged to write layers")
}

// Upper opens the folders of the snapshot key, which was prepared or viewed under
// that name just now, a random one, with mounts. It is nil where they are not proven
// to be what this process sees, and why says so: the daemon then applies, and what
// the mounts name must not be touched.
func (s *Store) Upper(ctx context.Context, key string, mounts []mount.Mount) (u *Upper, why string) {
	if why := s.foreign(); why != "" {
		return nil, why
	}
	return s.backend.Upper(ctx, key, mounts)
}
