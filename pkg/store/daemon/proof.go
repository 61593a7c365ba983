package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/snapshotdir"
)

// scans allows for records that the daemon moves while they are read.
const scans = 3

// proof remembers whether this process sees the files of the daemon's snapshots.
// The answer is the same for as long as the daemon is.
type proof struct {
	mu      sync.Mutex
	records finding // whether the folder of the snapshotter is the daemon's
	files   finding // whether the daemon sees what is written to a snapshot
	images  finding // whether it takes an image for a layer, see takesImages
	left    error   // what that could not remove
}

// finding is an answer that is found once.
type finding struct {
	known bool
	err   error
}

// once looks for the answer, unless it is known. What was interrupted says nothing, nor
// does what passes.
func (f *finding) once(ctx context.Context, look func() error) error {
	if f.known {
		return f.err
	}
	err := look()
	if ctx.Err() == nil && !passes(err) {
		f.known, f.err = true, err
	}
	return err
}

// passes reports whether err is that of a moment, such as a full disk or a daemon that
// was busy, and no answer.
func passes(err error) bool {
	_, failed := errors.AsType[unix.Errno](err)
	return failed || store.IsStorage(store.WithErrno(err)) || errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) ||
		errdefs.IsCanceled(err) || errdefs.IsResourceExhausted(err)
}

// holds reports whether it is proven that the files are the same.
func (p *proof) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files.known && p.files.err == nil
}

// Upper implements store.Backend. It takes a proof, in this order: the daemon is
// trusted; the key, which this process chose at random, is in the records of the
// snapshotter's folder, which reads them and touches nothing else; and a file that is
// created in the snapshot shows up in the daemon's count. A view takes no such file.
// For snapshotter erofs, an image has to be taken for a layer besides.
func (d *daemon) Upper(ctx context.Context, key string, mounts []mount.Mount) (*store.Upper, string) {
	return d.traits.Load().site.upper(ctx, d.parts, key, mounts)
}

func (s *site) upper(ctx context.Context, parts store.Parts, key string, mounts []mount.Mount) (*store.Upper, string) {
	const shared = "shares the daemon's file system"
	root, err := s.folder(s.snapshots)
	if err != nil {
		return nil, unproven(err)
	}
	p := &s.proof
	p.mu.Lock()
	defer p.mu.Unlock()
	u, err := p.share(ctx, root, parts, key, mounts)
	if err != nil {
		return nil, unproven(err)
	}
	if u.Dir == nil || !u.Image {
		return u, shared
	}
	err = p.images.once(ctx, func() (err error) {
		p.left, err = takesImages(ctx, parts.Snapshotter, root)
		return err
	})
	switch {
	case err != nil:
		u.Close()
		return nil, err.Error()
	case p.left != nil:
		return u, shared + "; what it was tried with is left until the lease ends: " + p.left.Error()
	}
	return u, shared
}

func unproven(err error) string {
	return "cannot prove that the file system is shared with the daemon: " + err.Error()
}

// share opens the snapshot if its files are proven to be the daemon's.
func (p *proof) share(ctx context.Context, root *os.File, parts store.Parts, key string, mounts []mount.Mount) (*store.Upper, error) {
	if err := p.records.once(ctx, func() error { return recorded(root, key) }); err != nil {
		return nil, err
	}
	u, err := store.OpenUpper(root, parts.Name, mounts)
	if err != nil || u.Dir == nil {
		return u, err
	}
	err = p.files.once(ctx, func() error { return proveByNonce(ctx, parts.Snapshotter, key, u.Dir) })
	if err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// recorded is nil if key is in the records of the snapshotter whose folder is root:
// then the daemon has written them since the key was chosen. They are only searched
// for it, since the daemon keeps them locked.
func recorded(root *os.File, key string) error {
	f, err := beneath.File(root, snapshotdir.Database, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	for range scans {
		found, err := contains(io.NewSectionReader(f, 0, 1<<62), []byte(key))
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.Name(), err)
		}
		if found {
			return nil
		}
	}
	return fmt.Errorf("%s does not have the snapshot that containerd has just made", f.Name())
}

// contains reports whether r delivers text somewhere.
func contains(r io.Reader, text []byte) (bool, error) {
	buf := make([]byte, 256<<10+len(text))
	kept := 0 // bytes that may begin the text
	for {
		n, err := io.ReadFull(r, buf[kept:])
		if bytes.Contains(buf[:kept+n], text) {
			return true, nil
		}
		switch err {
		case nil:
			kept = copy(buf, buf[len(buf)-len(text):])
		case io.EOF, io.ErrUnexpectedEOF:
			return false, nil
		default:
			return false, err
		}
	}
}

// proveByNonce creates a file in dir and asks the daemon whether it sees one
// more.
func proveByNonce(ctx context.Context, sn snapshots.Snapshotter, key string, dir *os.File) error {
	before, err := sn.Usage(ctx, key)
	if err != nil {
		return fmt.Errorf("counting files: %w", err)
	}
	nonce := ".containerd-pull-" + rand.Text()
	fd, err := unix.Openat(int(dir.Fd()), nonce, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("writing to %s: %w", dir.Name(), err)
	}
	after, err := sn.Usage(ctx, key)
	if err := errors.Join(err, unix.Close(fd), unix.Unlinkat(int(dir.Fd()), nonce, 0)); err != nil {
		return err
	}
	if after.Inodes != before.Inodes+1 {
		return fmt.Errorf("containerd does not see what is written to %s", dir.Name())
	}
	return nil
}
