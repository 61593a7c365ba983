package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

// entry applies one entry of the archive.
func (a *applier) entry(ctx context.Context, hdr *tar.Header) error {
	if a.userns && (hdr.Typeflag == tar.TypeBlock || hdr.Typeflag == tar.TypeChar) {
		a.warnings.add("device", fmt.Sprintf("ignoring devices in a user namespace, first met at %s", quoted(hdr.Name)))
		return nil
	}
	parent, base := split(cleaned(hdr.Name))
	if base == "" || base == "." || base == ".." { // the root, which belongs to the snapshotter
		return nil
	}
	d, err := a.at(parent, a.mkdirs)
	if err != nil {
		return blame(err)
	}
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		return blame(a.whiteout(d, hidden, hdr))
	}
	if err := a.create(ctx, d, base, hdr); err != nil {
		return blame(err)
	}
	if a.unpacked == nil {
		return nil
	}
	return a.names.add(a.unpacked, d.join(base))
}

// cleaned returns name without detours. ".." in front does not lead out of the
// root; once it is dropped, a name that can be resolved is not long.
func cleaned(name string) string {
	name = path.Clean(name)
	if !strings.HasPrefix(name, "../") {
		return name
	}
	for strings.HasPrefix(name, "../") {
		name = name[len("../"):]
	}
	return "/" + name
}

// quoted returns as much of a foreign name as belongs into a message.
func quoted(name string) string { return printable.Quote(name, 300) }

// blame classifies the errors that the archive causes and not the system, as an
// errdefs.ErrInvalidArgument.
func blame(err error) error {
	for _, errno := range []unix.Errno{
		unix.E2BIG, unix.EEXIST, unix.EINVAL, unix.EISDIR, unix.ELOOP, unix.EMLINK,
		unix.ENAMETOOLONG, unix.ENOENT, unix.ENOTDIR, unix.ERANGE,
	} {
		if errors.Is(err, errno) {
			return failure.New(errdefs.ErrInvalidArgument, "%w", err)
		}
	}
	return err
}

func (a *applier) create(ctx context.Context, d *dir, base string, hdr *tar.Header) error {
	a.become(hdr.Uid, hdr.Gid)
	switch hdr.Typeflag {
	case tar.TypeReg:
		return a.file(ctx, d, base, hdr)
	case tar.TypeDir:
		return a.directory(d, base, hdr)
	case tar.TypeLink:
		return a.link(d, base, hdr)
	case tar.TypeSymlink:
		return a.symlink(d, base, hdr)
	case tar.TypeBlock, tar.TypeChar, tar.TypeFifo:
		return a.device(d, base, hdr)
	case tar.TypeXGlobalHeader: // a comment that has a name
		return a.clear(d, base)
	}
	return failure.New(errdefs.ErrInvalidArgument, "type %q of the entry is unknown", hdr.Typeflag)
}

func (a *applier) file(ctx context.Context, d *dir, base string, hdr *tar.Header) (err error) {
	fd, err := a.sys.Create(d.fd, base, uint32(hdr.Mode)&permBits)
	if err == unix.EEXIST {
		if err := a.clear(d, base); err != nil {
			return err
		}
		fd, err = a.sys.Create(d.fd, base, uint32(hdr.Mode)&permBits)
	}
	if err != nil {
		return fmt.Errorf("creating the file: %w", err)
	}
	defer func() { err = errors.Join(err, a.sys.Close(fd)) }()
	d.touch()
	if err := a.write(ctx, fd); err != nil {
		return err
	}
	return a.dress(node{sys: a.sys, dir: d, base: base, fd: fd}, hdr, false)
}

// write copies the body of the current entry to a file.
func (a *applier) write(ctx context.Context, fd int) error {
	for {
		n, end := a.fill()
		a.written += int64(n)
		switch {
		case end != nil && end != io.EOF:
			return a.unreadable(end)
		case a.opts.MaxBytes > 0 && a.written > a.opts.MaxBytes:
			return fmt.Errorf("files have more than %d bytes: %w", a.opts.MaxBytes, ErrLimit)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := a.sys.Write(fd, a.body[:n]); err != nil {
			return fmt.Errorf("writing the file: %w", err)
		}
		if end == io.EOF {
			return nil
		}
	}
}

// fill reads as much of the current entry as fits. io.ReadFull would not do: its
// error is the same for a short file and for a short archive.
func (a *applier) fill() (n int, err error) {
	for n < len(a.body) && err == nil {
		var m int
		m, err = a.archive.Read(a.body[n:])
		n += m
	}
	return n, err
}

// directory creates a directory, or gives an existing one other attributes.
func (a *applier) directory(d *dir, base string, hdr *tar.Header) error {
	if err := a.listed.add(listedDir{name: cleaned(hdr.Name), times: timesOf(hdr)}); err != nil {
		return err
	}
	mode := uint32(hdr.Mode) & permBits
	err := a.sys.Mkdir(d.fd, base, mode)
	switch err {
	case nil:
		a.usage.postpone(d, base)
	case unix.EEXIST:
		err = a.reuse(d, base, mode)
	}
	if err != nil {
		return fmt.Errorf("creating the directory: %w", err)
	}
	d.touch()
	return a.dress(a.node(d, base), hdr, false)
}

// reuse keeps what is there already if it is a directory, and replaces it
// otherwise.
func (a *applier) reuse(d *dir, base string, mode uint32) error {
	var st unix.Stat_t
	if err := a.sys.Stat(d.fd, base, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		a.implicit.listed(d.join(base))
		return nil
	}
	if err := a.remove(d, base, st.Mode); err != nil {
		return err
	}
	return a.sys.Mkdir(d.fd, base, mode)
}

func (a *applier) symlink(d *dir, base string, hdr *tar.Header) error {
	err := a.sys.Symlink(hdr.Linkname, d.fd, base)
	if err == unix.EEXIST {
		if err := a.clear(d, base); err != nil {
			return err
		}
		err = a.sys.Symlink(hdr.Linkname, d.fd, base)
	}
	if err != nil {
		return fmt.Errorf("creating the symbolic link: %w", err)
	}
	clear(a.aliases)
	d.touch()
	return a.dress(a.node(d, base), hdr, false)
}

func (a *applier) device(d *dir, base string, hdr *tar.Header) error {
	if hdr.Devmajor < 0 || hdr.Devmajor > math.MaxUint32 || hdr.Devminor < 0 || hdr.Devminor > math.MaxUint32 {
		return failure.New(errdefs.ErrInvalidArgument, "device number %d:%d is out of range", hdr.Devmajor, hdr.Devminor)
	}
	mode := uint32(hdr.Mode) & permBits
	switch hdr.Typeflag {
	case tar.TypeBlock:
		mode |= unix.S_IFBLK
	case tar.TypeChar:
		mode |= unix.S_IFCHR
	default:
		mode |= unix.S_IFIFO
	}
	if err := a.clear(d, base); err != nil {
		return err
	}
	number := unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	if err := a.sys.Mknod(d.fd, base, mode, number); err != nil {
		return fmt.Errorf("creating the device: %w", err)
	}
	d.touch()
	return a.dress(a.node(d, base), hdr, false)
}

// link gives a file one more name. The entry's attributes become those of the
// file, under all its names.
func (a *applier) link(d *dir, base string, hdr *tar.Header) error {
	if err := a.clear(d, base); err != nil { // first, since it may be part of the target's name
		return err
	}
	at, name, err := a.target(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("resolving the hard link to %s: %w", quoted(hdr.Linkname), err)
	}
	err = a.sys.Link(at.fd, name, d.fd, base)
	if err == unix.EPERM && a.isDir(at.fd, name) {
		err = errLinkToDirectory
	}
	if err != nil {
		return fmt.Errorf("creating the hard link to %s: %w", quoted(hdr.Linkname), err)
	}
	clear(a.aliases) // it may be a link to a symbolic link
	d.touch()
	return a.dress(a.node(d, base), hdr, true)
}

// target resolves the name of an existing file, where a link at its end means
// the link itself.
func (a *applier) target(name string) (*dir, string, error) {
	parent, base := split(name)
	if base == ".." { // which only directories have
		return nil, "", errLinkToDirectory
	}
	if base == "" || base == "." { // "file/" and "file/." are the file
		p, err := a.resolve(parent)
		if err != nil {
			return nil, "", err
		}
		if parent, base = split(p); base == "" {
			return nil, "", errLinkToDirectory
		}
		d, err := a.open(strings.TrimSuffix(parent, "/"))
		return d, base, err
	}
	d, err := a.at(parent, a.open)
	return d, base, err
}

var errLinkToDirectory error = failure.New(errdefs.ErrInvalidArgument, "hard link to a directory")

// clear removes what is at base, if there is anything.
func (a *applier) clear(d *dir, base string) error {
	var st unix.Stat_t
	err := a.sys.Stat(d.fd, base, &st)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	return a.remove(d, base, st.Mode)
}

// remove removes what is at base with everything below it, and forgets what was
// known of it.
func (a *applier) remove(d *dir, base string, mode uint32) error {
	a.usage.lose()
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		a.replaced = true
		a.forget(d.join(base))
		a.implicit.forget(d.join(base))
		if err := a.sys.RemoveAll(d.fd, base); err != nil {
			return fmt.Errorf("removing the directory in its place: %w", err)
		}
		return nil
	case unix.S_IFLNK:
		a.replaced = true
		clear(a.aliases)
	}
	if err := a.sys.Unlink(d.fd, base); err != nil {
		return fmt.Errorf("removing what is in its place: %w", err)
	}
	return nil
}

func (a *applier) setTimes(l *listedDir) error {
	parent, base := split(l.name)
	if p, ok := plain(parent); ok {
		d, err := a.open(p)
		if err == nil && !(a.replaced && a.isLink(d.fd, base)) {
			return a.sys.Utimes(d.fd, base, &l.times)
		}
		if err != nil && err != unix.ELOOP {
			return err
		}
	}
	p, err := a.resolve(l.name)
	if err != nil {
		return err
	}
	if p == "" {
		return a.sys.Utimes(a.root.fd, ".", &l.times)
	}
	parent, base = split(p)
	d, err := a.open(strings.TrimSuffix(parent, "/"))
	if err != nil {
		return err
	}
	return a.sys.Utimes(d.fd, base, &l.times)
}
