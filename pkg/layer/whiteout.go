package layer

import (
	"archive/tar"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

const (
	whiteoutPrefix = ".wh."
	// opaqueMarker follows the prefix in the name that hides all of a directory.
	opaqueMarker = ".wh..opq"

	// The attributes of overlayfs begin with one of two prefixes.
	trustedXattr = "trusted."
	userXattr    = "user.overlay."
)

// whiteout hides name in d, or all of d, from layers above. As in containerd a
// later entry of that name takes a whiteout's place, even if it is a directory
// that then shows what is below it, and a whiteout of an earlier entry of an
// overlay's layer is refused.
func (a *applier) whiteout(d *dir, name string, hdr *tar.Header) error {
	switch {
	case name == opaqueMarker && a.opts.Whiteouts == Overlay:
		return a.setOpaque(d)
	case name == opaqueMarker:
		return a.empty(d)
	case name == "" || name == "." || name == "..":
		return failure.New(errdefs.ErrInvalidArgument, "whiteout of %q, which names no file", name)
	case a.opts.Whiteouts == Overlay:
		return a.hide(d, name, hdr)
	}
	return a.clear(d, name)
}

func (a *applier) setOpaque(d *dir) error {
	key := trustedXattr + "overlay.opaque"
	if a.opts.UserXattr {
		key = userXattr + "opaque"
	}
	a.marked = true
	if err := a.sys.Setxattr(d.fd, ".", key, "y", 0); err != nil {
		return fmt.Errorf("making the directory opaque: %w", err)
	}
	return nil
}

func (a *applier) hide(d *dir, name string, hdr *tar.Header) error {
	a.become(hdr.Uid, hdr.Gid)
	if err := a.sys.Mknod(d.fd, name, unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("creating the whiteout: %w", noWhiteout(err))
	}
	d.touch()
	if err := a.sys.Chown(d.fd, name, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("setting the whiteout's owner %d:%d: %w", hdr.Uid, hdr.Gid, err)
	}
	return a.count(a.node(d, name), &unix.Stat_t{}, true, false)
}

// empty removes all of d that this archive did not list, once.
func (a *applier) empty(d *dir) error {
	if _, done := a.opaque[d.path]; done {
		return nil
	}
	if err := a.names.add(a.opaque, d.path); err != nil {
		return err
	}
	return a.removeUnlisted(d.fd, d.path)
}

// removeUnlisted removes what is in the open directory at path except what the
// archive listed so far, and goes on in those of its directories.
func (a *applier) removeUnlisted(fd int, path string) error {
	d := &dir{fd: fd, path: path}
	names, err := a.sys.Names(fd)
	if err != nil {
		return fmt.Errorf("emptying the directory: %w", err)
	}
	for _, name := range names {
		if err := a.removeIfUnlisted(d, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) removeIfUnlisted(d *dir, name string) error {
	var st unix.Stat_t
	if err := a.sys.Stat(d.fd, name, &st); err != nil {
		return err
	}
	if _, listed := a.unpacked[d.join(name)]; !listed {
		return a.remove(d, name, st.Mode)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	fd, err := a.sys.OpenDir(d.fd, name)
	if err != nil {
		return err
	}
	defer a.sys.Close(fd)
	return a.removeUnlisted(fd, d.join(name))
}
