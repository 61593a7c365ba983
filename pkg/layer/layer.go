package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// Whiteouts decides what becomes of entries that delete something below.
type Whiteouts int

const (
	// Overlay turns whiteouts into what overlayfs understands, for the upper
	// directory of a snapshot: a character device 0:0 for a deleted name, and an
	// attribute for a directory that hides what is below it.
	Overlay Whiteouts = iota
	// InPlace deletes what whiteouts name below the root, for a first layer
	// and for snapshotters that copy the layers below.
	InPlace
)

// Options of Apply. The zero value applies to an overlay without a limit.
type Options struct {
	Whiteouts Whiteouts
	// MaxBytes limits the bytes read from the stream and, separately, the bytes
	// written to files, which may be more if files are sparse. 0 is no limit.
	MaxBytes int64
	// Lowers are the trees of the layers below, nearest first, if all of them are
	// complete, for Whiteouts Overlay.
	// Directories that the archive does not list take after them, and Inherit has
	// nothing to do.
	Lowers []Reader
	// UserXattr says that the overlay is mounted with that option: its attributes
	// are user.overlay.*, which an archive must not set then, and not
	// trusted.overlay.*, which it must never set.
	UserXattr bool
}

// Result of Apply.
type Result struct {
	// Bytes of the tar stream, up to its end and not only to that of the archive.
	Bytes int64
	// Entries of the archive, the ignored ones included.
	Entries int
	// Implicit are the directories that the archive needs but did not list
	// before it used them, in the order of their creation. They are recorded
	// for Whiteouts Overlay without Lowers, and Inherit completes them.
	Implicit []Directory
	// Marked reports whether the outcome depends on Options.UserXattr.
	Marked bool
	// Usage is what is in the root now. Inherit may still change it.
	Usage Usage
	// Warnings name what was left out because of the file system or of
	// containerd's rules.
	Warnings []string
}

// ErrLimit is the error of a layer that becomes larger than Options.MaxBytes.
// It is an errdefs.ErrInvalidArgument.
var ErrLimit error = failure.New(errdefs.ErrInvalidArgument, "over the limit")

// Apply applies the tar stream r to the tree of a System: a [Folder], or what is
// made like one. It reads r to its very end: what follows the end of the archive is
// part of a layer's diff ID.
//
// An archive that is malformed, or that containerd refuses, is an
// errdefs.ErrInvalidArgument. Errors of r and of the file system keep their
// identity (ENOSPC, say). Whatever the error, the tree is left half done.
//
// Nothing else may change the tree meanwhile. Even then nothing outside of it would
// be touched.
func Apply(ctx context.Context, to System, r io.Reader, o Options) (res Result, err error) {
	t, err := openTree(to, maxHandles)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	a := newApplier(t, to, r, o)
	defer func() { err = errors.Join(err, a.lowers.close()) }()
	if a.lowers, err = openLowers(o.Lowers); err != nil {
		return Result{}, err
	}
	if _, ok := to.(kernel); ok {
		a.confine()
		alone(func() {
			a.creator = newCreator(a.userns)
			err = a.run(ctx)
		})
	} else {
		err = a.run(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	return a.result(), nil
}

const (
	// readAhead is the size of the buffer that serves archive/tar's requests for
	// single blocks. Larger requests bypass it.
	readAhead = 64 << 10
	// bodySize is how much of a file is written at a time. Few files are larger.
	bodySize = 256 << 10
)

// applier is one Apply under way.
type applier struct {
	*tree
	creator
	sys     System // that of the tree
	opts    Options
	lowers  lowers
	src     *source
	stream  *bufio.Reader
	archive *tar.Reader
	body    []byte
	mkdirs  opener // a.ensure, made once
	userns  bool
	times   [2]unix.Timespec // of the current entry, here to be allocated once
	st      unix.Stat_t      // likewise

	entries  int
	written  int64
	listed   listedDirs
	replaced bool                // whether a directory or a link was removed: names may mean something else now
	unpacked map[string]struct{} // InPlace: the names that whiteouts must spare
	marked   bool
	opaque   map[string]struct{} // InPlace: directories emptied already
	names    names               // of both
	usage    Usage
	warnings warnings
}

func newApplier(t *tree, sys System, r io.Reader, o Options) *applier {
	src := &source{r: r, max: o.MaxBytes}
	stream := bufio.NewReaderSize(src, readAhead)
	a := &applier{
		tree: t, sys: sys, creator: creator{barred: true}, opts: o, src: src, stream: stream, archive: tar.NewReader(stream),
		body: make([]byte, bodySize),
	}
	a.mkdirs = a.ensure
	if o.Whiteouts == InPlace {
		a.unpacked, a.opaque = map[string]struct{}{}, map[string]struct{}{}
	}
	return a
}

// confine takes account of where the kernel runs this process, and counts what it makes.
func (a *applier) confine() { a.userns, a.usage = userns.RunningInUserNS(), newUsage(a.root) }

func (a *applier) run(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		hdr, err := a.archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return a.unreadable(err)
		}
		a.entries++
		// What is kept of a name would keep all of the records that came with it.
		hdr.Name, hdr.Linkname = strings.Clone(hdr.Name), strings.Clone(hdr.Linkname)
		if err := a.entry(ctx, hdr); err != nil {
			return fmt.Errorf("applying %s: %w", quoted(hdr.Name), err)
		}
	}
	if err := a.setListedTimes(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, a.stream)
	return err
}

// unreadable returns the error of the stream if that is why the archive cannot be
// read, and otherwise one of the archive.
func (a *applier) unreadable(err error) error {
	if a.src.err != nil {
		return fmt.Errorf("reading the layer: %w", a.src.err)
	}
	return failure.New(errdefs.ErrInvalidArgument, "reading the archive: %w", err)
}

func (a *applier) result() Result {
	return Result{
		Bytes: a.src.n, Entries: a.entries,
		Implicit: a.implicit.list(), Marked: a.marked, Usage: a.usage, Warnings: a.warnings.list(),
	}
}

// source counts and limits what is read, and remembers why reading failed:
// archive/tar hides some of that.
type source struct {
	r   io.Reader
	n   int64
	max int64
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if s.max > 0 && s.n > s.max {
		err = fmt.Errorf("layer has more than %d bytes: %w", s.max, ErrLimit)
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
