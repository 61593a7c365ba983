package root

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/boltcheck"
)

// database is a bolt file of a root.
type database struct {
	name    string // from the root
	mode    uint32
	options bolt.Options
	check   func(*bolt.Tx) error // is nil for the database that the file is taken for
}

// metadataFile is that of all records, with the options that containerd uses, so
// that a daemon finds it as if it had written it.
func metadataFile() database {
	d := database{filepath.Join(metadataDir, "meta.db"), 0o644, *bolt.DefaultOptions, checkSchema}
	d.options.NoFreelistSync = true
	return d
}

// snapshotsFile is that of a snapshotter.
func snapshotsFile(snapshotter string) database {
	return database{filepath.Join(snapshotDir+snapshotter, "metadata.db"), 0o600, *bolt.DefaultOptions, checkSnapshots}
}

// openBolt opens a database of the place, once no other process holds it; wait bounds
// that. For reading, it is nil where there is none, or nothing in it.
func (p *place) openBolt(ctx context.Context, d database, write bool, wait time.Duration) (*bolt.DB, error) {
	flags, how := os.O_RDONLY, unix.LOCK_SH
	if write {
		flags, how = os.O_RDWR|os.O_CREATE, unix.LOCK_EX
	}
	f, err := p.file(d.name, flags, d.mode)
	if errors.Is(err, os.ErrNotExist) && !write {
		return nil, nil
	}
	if err != nil {
		return nil, asDamage(err)
	}
	if err := lock(ctx, f, how, wait, nil); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	info, err := f.Stat()
	if err != nil || info.Size() == 0 && !write {
		return nil, errors.Join(err, f.Close())
	}
	if info.Size() > 0 {
		err = boltcheck.Pages(f, info.Size())
	}
	if err != nil {
		return nil, errors.Join(p.damaged(d, err), f.Close())
	}
	return p.handToBolt(d, f, write)
}

// handToBolt lets bolt go on with a file that is open, locked and checked.
func (p *place) handToBolt(d database, f *os.File, write bool) (*bolt.DB, error) {
	o := d.options
	o.ReadOnly = !write
	o.OpenFile = func(string, int, os.FileMode) (*os.File, error) { return f, nil }
	db, err := bolt.Open(f.Name(), os.FileMode(d.mode), &o) // closes f if it fails
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", f.Name(), withErrno(err))
	}
	if err := db.View(d.check); err != nil {
		return nil, errors.Join(p.damaged(d, err), db.Close())
	}
	return db, nil
}

// damaged says which database is damaged, how, and what becomes of it. Errors that
// are those of reading, or of another kind, stay as they are.
func (p *place) damaged(d database, err error) error {
	if _, ok := errors.AsType[*boltcheck.Damage](err); !ok {
		return fmt.Errorf("reading %s: %w", filepath.Join(p.path, d.name), err)
	}
	return failure.New(errdefs.ErrDataLoss, "%s is damaged: %w", filepath.Join(p.path, d.name), err).WithHint("%s", p.wayOut(d))
}

// asDamage is the error for a database that this user cannot read.
func asDamage(err error) error {
	at, ok := errors.AsType[*os.PathError](err)
	if !ok || !errors.Is(at, os.ErrPermission) {
		return err
	}
	return failure.New(errdefs.ErrDataLoss, "%w", at).WithHint("run this as the user who owns it; nothing was changed")
}
