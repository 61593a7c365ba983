package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// proof remembers whether this process sees the files of the daemon's snapshots.
// The answer is the same for as long as the daemon is.
type proof struct {
	mu     sync.Mutex
	known  bool // ok and reason are
	ok     bool
	reason string
}

// reset forgets the answer: another daemon may have another.
func (p *proof) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = false
}

// holds reports whether it is proven that the files are the same.
func (p *proof) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known && p.ok
}

// SharesFiles implements store.Backend. It takes a proof: a file that this process
// creates in the snapshot's folder must show up in the daemon's count. The answer
// is found once for each daemon.
func (d *daemon) SharesFiles(ctx context.Context, key string, mounts []mount.Mount) (bool, string) {
	p := &d.proof
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known {
		return p.ok, p.reason
	}
	ok, reason := d.prove(ctx, key, mounts)
	if ctx.Err() == nil { // what was interrupted proves nothing
		p.known, p.ok, p.reason = true, ok, reason
	}
	return ok, reason
}

func (d *daemon) prove(ctx context.Context, key string, mounts []mount.Mount) (bool, string) {
	upper, ok := store.UpperOf(mounts)
	if !ok || upper.Dir == "" {
		return false, "the snapshot is not a plain folder"
	}
	if err := d.proveByNonce(ctx, key, upper.Dir); err != nil {
		return false, "cannot prove that the file system is shared with the daemon: " + err.Error()
	}
	return true, "shares the daemon's file system"
}

// proveByNonce creates a file in dir and asks the daemon whether it sees one
// more.
func (d *daemon) proveByNonce(ctx context.Context, key, dir string) error {
	before, err := d.parts.Snapshotter.Usage(ctx, key)
	if err != nil {
		return fmt.Errorf("counting files: %w", err)
	}
	nonce := filepath.Join(dir, ".containerd-pull-"+rand.Text())
	f, err := os.OpenFile(nonce, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	after, err := d.parts.Snapshotter.Usage(ctx, key)
	if err := errors.Join(err, f.Close(), os.Remove(nonce)); err != nil {
		return err
	}
	if after.Inodes != before.Inodes+1 {
		return fmt.Errorf("containerd does not see what is written to %s", dir)
	}
	return nil
}
