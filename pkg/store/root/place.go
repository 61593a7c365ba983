package root

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// place is the folder of a root. DIR itself may be reached through links, as the
// user likes; what containerd has in it may not: a root may be made by another user,
// on another machine, and a link in it would lead writes and deletions out of it.
//
// Each folder on the way is safe (see beneath) when a place is open: no other user can
// change what the paths in it lead to, and they are used as paths from then on.
type place struct {
	dir     *os.File
	path    string // of dir, without links
	foreign bool   // it holds other things as well, which others may use
}

// folder is a folder of containerd's in a root, with the mode that containerd
// gives it.
type folder struct {
	name  string
	mode  uint32
	later bool // it is made when the first thing is put into it
}

// folders are those that are used, each before what is in it.
func folders(snapshotter string) []folder {
	sn := snapshotDir + snapshotter
	return []folder{
		{name: contentDir, mode: 0o755}, {name: filepath.Join(contentDir, "ingest"), mode: 0o755, later: true},
		{name: metadataDir, mode: 0o711},
		{name: sn, mode: 0o700}, {name: filepath.Join(sn, "snapshots"), mode: 0o700},
	}
}

// openPlace opens the folder at path, which must exist. Whether it is safe is for
// look or prepare to find out.
func openPlace(path string) (*place, error) {
	full, err := filepath.Abs(path)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		return nil, fmt.Errorf("finding root %q: %w", path, unfit(err))
	}
	dir, err := os.OpenFile(full, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("opening root: %w", unfit(err))
	}
	return &place{dir: dir, path: full}, nil
}

func (p *place) close() error { return p.dir.Close() }

// open opens the folder name beneath the place for as long as it takes to see that
// it is safe, and reports whether there is one.
func (p *place) open(name string) (bool, error) {
	f, err := p.handle(name)
	if f == nil || err != nil {
		return false, err
	}
	return true, f.Close()
}

// look opens every folder that is there.
func (p *place) look(snapshotter string) error {
	for _, f := range append([]folder{{name: ".", mode: rootMode}}, folders(snapshotter)...) {
		if _, err := p.open(f.name); err != nil {
			return err
		}
	}
	return p.lookAtBlobs()
}

// lookAtBlobs opens the folders of blobs, one for each algorithm.
func (p *place) lookAtBlobs() error {
	blobs := filepath.Join(contentDir, "blobs")
	if there, err := p.open(blobs); !there || err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(p.path, blobs))
	if err != nil {
		return fmt.Errorf("listing the blobs: %w", unfit(err))
	}
	for _, e := range entries {
		if _, err := p.open(filepath.Join(blobs, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the folders that are missing, and takes the bits from the modes of
// the others that containerd does not give them.
func (p *place) prepare(snapshotter string) error {
	for _, f := range append([]folder{{name: ".", mode: rootMode}}, folders(snapshotter)...) {
		if err := p.prepareFolder(f); err != nil {
			return fmt.Errorf("preparing the root: %w", err)
		}
	}
	return p.lookAtBlobs()
}

func (p *place) prepareFolder(f folder) error {
	path := filepath.Join(p.path, f.name)
	made := os.ErrExist
	if !f.later {
		made = os.Mkdir(path, 0o700)
	}
	if made != nil && !errors.Is(made, os.ErrExist) {
		return unfit(made)
	}
	if there, err := p.open(f.name); !there || err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	want := info.Mode().Perm() & os.FileMode(f.mode)
	if made == nil {
		want = os.FileMode(f.mode)
	}
	if want == info.Mode()&(os.ModePerm|os.ModeSticky) || p.foreign && f.name == "." {
		return nil
	}
	err = os.Chmod(path, want)
	if made != nil && (errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS)) { // it stays as it is
		return nil
	}
	return err
}

// file opens a file of the place, which no other user can write; os.ErrNotExist says
// that there is none. With os.O_CREATE it is made with mode.
func (p *place) file(name string, flags int, mode uint32) (*os.File, error) {
	dir, err := beneath.Open(p.dir, filepath.Dir(name))
	if err != nil {
		return nil, unfit(err)
	}
	defer dir.Close()
	f, err := beneath.File(dir, filepath.Base(name), flags&^os.O_CREATE)
	if errors.Is(err, os.ErrNotExist) && flags&os.O_CREATE != 0 {
		return create(dir, filepath.Base(name), flags, mode)
	}
	if err != nil {
		return nil, unfit(err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		err = failure.New(store.ErrUnsafe, "%s can be written by others (mode %#o)", f.Name(), info.Mode().Perm()).WithHint("if it may be trusted: chmod go-w %s", f.Name())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// create makes a file. Another process may have been faster.
func create(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if errors.Is(err, os.ErrExist) {
		return beneath.File(dir, name, flags&^os.O_CREATE)
	}
	if err != nil {
		return nil, unfit(&os.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: err})
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// handle opens the folder name, nil if there is none.
func (p *place) handle(name string) (*os.File, error) {
	f, err := beneath.Open(p.dir, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return f, unfit(err)
}

// way is the way to the folder name, which f has open if it is there.
func (p *place) way(f *os.File, name string) *store.Place {
	if f == nil {
		return &store.Place{Dir: p.dir, Rest: name}
	}
	return &store.Place{Dir: f}
}

// checkMounts is an error if what the mounts of a snapshot show is no folder beneath
// that of the snapshotter, or only a link to one.
func checkMounts(snapshotter *os.File, mounts []mount.Mount) error {
	u, err := store.OpenUpper(snapshotter, "", mounts)
	if err != nil {
		return unfit(err)
	}
	defer u.Close()
	lowers, err := u.Lowers()
	store.CloseAll(lowers)
	return unfit(err)
}

// checkWritable is an error if nothing can be written to the file system of the
// place.
func (p *place) checkWritable() error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(p.dir.Fd()), &fs); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
		return err
	}
	return failure.New(unix.EROFS, "%s is on a file system that is mounted read-only", p.path).
		WithHint("mount it for writing; verify, gc --dry-run and --policy never only look, and work as it is")
}

// lockName is the file in a root that one process after the other locks.
const lockName = ".containerd-pull.lock"

// checkOwn is an error unless the place is empty or a root of containerd's.
func (p *place) checkOwn() error {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return unfit(err)
	}
	var foreign []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == contentDir, name == metadataDir, strings.HasPrefix(name, snapshotDir):
			return nil
		case name != lockName && name != "lost+found": // a file system of its own has that one
			foreign = append(foreign, name)
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	return failure.New(store.ErrForeign, "%s is no root of containerd's: in it there is %s", p.path, some(foreign)).
		WithHint("name an empty or a new folder with --root, or one of containerd's; --force-root writes into this one all the same")
}

// some lists the first of names.
func some(names []string) string {
	const few = 3
	slices.Sort(names)
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// unfit gives an error of opening its class and a remedy, if it says that something in
// a root is not what containerd puts there, or cannot be read by this user.
func unfit(err error) error {
	if unsafe, ok := errors.AsType[*beneath.UnsafeError](err); ok {
		return failure.New(store.ErrUnsafe, "%w", unsafe)
	}
	at, ok := errors.AsType[*os.PathError](err)
	if !ok {
		return err
	}
	info, lerr := os.Lstat(at.Path)
	switch {
	case lerr == nil && info.Mode()&os.ModeSymlink != 0:
		return failure.New(store.ErrUnsafe, "%s is a link, and in a root no link is followed", at.Path).WithHint("move what it leads to into its place, or mount it there")
	case errors.Is(err, unix.ENOTDIR):
		return failure.New(store.ErrUnsafe, "%s is no folder", at.Path).WithHint("move it away")
	case errors.Is(err, unix.EINVAL):
		return failure.New(store.ErrUnsafe, "%s is no regular file", at.Path).WithHint("move it away")
	case errors.Is(err, os.ErrPermission):
		return failure.New(store.ErrUnsafe, "%w", at).WithHint("run this as the user who owns %s", at.Path)
	}
	return err
}
