package root

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// shadow is a bolt database that is worked on in memory and written to its
// file in whole, in one transaction, by flush. Each of containerd's steps is a
// transaction of its own, about nine for each layer, and on disk each of them
// would wait for the files that are being unpacked. The file is that of the last
// flush, whatever happens; it is locked meanwhile, as a daemon locks it.
type shadow struct {
	disk   *bolt.DB
	memory *bolt.DB
	file   *os.File // that memory lives in
	dirty  atomic.Bool
	mu     sync.Mutex // one flush at a time
}

// newShadow works on the database disk, which is nil for an empty one that is never
// written. It closes disk in any case.
func newShadow(disk *bolt.DB) (*shadow, error) {
	s := &shadow{disk: disk}
	if err := s.loadFrom(disk); err != nil {
		return nil, errors.Join(fmt.Errorf("reading a database: %w", err), s.close())
	}
	return s, nil
}

func (s *shadow) loadFrom(db *bolt.DB) error {
	fd, err := unix.MemfdCreate("metadata", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("creating a file in memory: %w", err)
	}
	s.file = os.NewFile(uintptr(fd), "metadata")
	o := inMemory()
	if s.memory, err = bolt.Open(s.path(), 0o600, &o); err != nil {
		return err
	}
	if db == nil {
		return nil
	}
	return db.View(func(from *bolt.Tx) error {
		return s.memory.Update(func(to *bolt.Tx) error { return replace(to, from) })
	})
}

// copy is the state of the moment, for a trial. It belongs to no file and cannot
// be flushed.
func (s *shadow) copy() (*shadow, error) {
	c := new(shadow)
	if err := c.loadFrom(s.memory); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// inMemory are the options of a database whose loss does not matter.
func inMemory() bolt.Options {
	o := *bolt.DefaultOptions
	o.NoSync, o.NoGrowSync, o.NoFreelistSync = true, true, true
	return o
}

func (s *shadow) path() string { return fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()) }

// View and Update implement containerd's metadata.Transactor.
func (s *shadow) View(fn func(*bolt.Tx) error) error { return s.memory.View(fn) }

func (s *shadow) Update(fn func(*bolt.Tx) error) error {
	err := s.memory.Update(fn)
	if err == nil {
		s.dirty.Store(true)
	}
	return err
}

// flush writes the state of the moment to disk. Whatever the state refers to
// must be on disk before: prepare is called with the state fixed.
func (s *shadow) flush(prepare func(state *bolt.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty.Swap(false) {
		return nil
	}
	err := s.memory.View(func(from *bolt.Tx) error {
		if err := prepare(from); err != nil {
			return err
		}
		return s.write(from)
	})
	if err != nil {
		s.dirty.Store(true)
	}
	return err
}

// withErrno gives an error of bolt its error number: bolt puts some errors of the
// kernel into words.
func withErrno(err error) error {
	if err == nil {
		return nil
	}
	return store.WithErrnoOf(err, err.Error())
}

// store changes the file.
func (s *shadow) store(fn func(*bolt.Tx) error) error { return withErrno(s.disk.Update(fn)) }

func (s *shadow) write(from *bolt.Tx) error {
	err := s.store(func(to *bolt.Tx) error { return replace(to, from) })
	if err != nil {
		return fmt.Errorf("writing %s: %w", s.disk.Path(), err)
	}
	return nil
}

// close gives the file up without a flush.
func (s *shadow) close() error {
	var errs []error
	if s.memory != nil {
		errs = append(errs, s.memory.Close())
	}
	if s.file != nil {
		errs = append(errs, s.file.Close())
	}
	if s.disk != nil {
		errs = append(errs, s.disk.Close())
	}
	return errors.Join(errs...)
}

// replace makes to hold what from holds.
func replace(to, from *bolt.Tx) error {
	var old [][]byte
	err := to.ForEach(func(name []byte, _ *bolt.Bucket) error {
		old = append(old, append([]byte(nil), name...))
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := to.DeleteBucket(name); err != nil {
			return err
		}
	}
	return from.ForEach(func(name []byte, b *bolt.Bucket) error {
		bucket, err := to.CreateBucket(name)
		if err != nil {
			return err
		}
		return copyBucket(bucket, b)
	})
}

func copyBucket(to, from *bolt.Bucket) error {
	if err := to.SetSequence(from.Sequence()); err != nil {
		return err
	}
	return from.ForEach(func(key, value []byte) error {
		if value != nil {
			return to.Put(key, value)
		}
		bucket, err := to.CreateBucket(key)
		if err != nil {
			return err
		}
		return copyBucket(bucket, from.Bucket(key))
	})
}

// snapshotMeta is the database of a snapshotter as a shadow. containerd's
// storage package opens the copy in memory itself, so shadow.memory is nil here.
type snapshotMeta struct {
	*storage.MetaStore
	shadow     *shadow
	looking    bool
	once       sync.Once
	reserveErr error
}

// newSnapshotMeta works on the database disk as newShadow does. With looking, numbers
// that are given out are forgotten.
func newSnapshotMeta(disk *bolt.DB, looking bool) (*snapshotMeta, error) {
	s, err := newShadow(disk)
	if err != nil {
		return nil, err
	}
	err = s.memory.Close() // or its lock would keep the storage package out
	s.memory = nil
	if err == nil {
		var ms *storage.MetaStore
		ms, err = storage.NewMetaStore(s.path(), func(o *bolt.Options) error { *o = inMemory(); return nil })
		if err == nil {
			return &snapshotMeta{MetaStore: ms, shadow: s, looking: looking}, nil
		}
	}
	return nil, errors.Join(err, s.close())
}

// TransactionContext and WithTransaction are those of the storage package, with
// the numbers of snapshots reserved before the first one is given out.
func (m *snapshotMeta) TransactionContext(ctx context.Context, writable bool) (context.Context, storage.Transactor, error) {
	if writable && !m.looking {
		if err := m.reserve(); err != nil {
			return ctx, nil, err
		}
	}
	return m.MetaStore.TransactionContext(ctx, writable)
}

func (m *snapshotMeta) WithTransaction(ctx context.Context, writable bool, fn storage.TransactionCallback) error {
	if writable && !m.looking {
		if err := m.reserve(); err != nil {
			return err
		}
	}
	return m.MetaStore.WithTransaction(ctx, writable, fn)
}

// reserved is how many numbers the disk is ahead of the memory. A number is the
// name of a snapshot's folder: if this process is killed, the next one that opens
// the root must not give out the numbers of the folders that are left.
const reserved = 1 << 12

func (m *snapshotMeta) reserve() error {
	m.once.Do(func() {
		m.shadow.dirty.Store(true)
		m.reserveErr = m.shadow.store(func(tx *bolt.Tx) error { return countAhead(tx, reserved) })
	})
	return m.reserveErr
}

// countAhead lets the next snapshot of a database have a number that is higher
// by n.
func countAhead(tx *bolt.Tx, n uint64) error {
	root, err := tx.CreateBucketIfNotExists([]byte("v1"))
	if err != nil {
		return err
	}
	if _, err := root.CreateBucketIfNotExists([]byte("parents")); err != nil {
		return err
	}
	all, err := root.CreateBucketIfNotExists([]byte("snapshots"))
	if err != nil {
		return err
	}
	return all.SetSequence(all.Sequence() + n)
}

// flush writes the state of the moment to disk, ahead by n numbers.
func (m *snapshotMeta) flush(n uint64) error {
	_, transactor, err := m.MetaStore.TransactionContext(context.Background(), false)
	if err != nil {
		return err
	}
	defer func() { _ = transactor.Rollback() }() // it only reads
	from, ok := transactor.(*bolt.Tx)
	if !ok {
		return fmt.Errorf("snapshot metadata is a %T", transactor)
	}
	return m.shadow.store(func(to *bolt.Tx) error {
		if err := replace(to, from); err != nil || n == 0 {
			return err
		}
		return countAhead(to, n)
	})
}

// guarded is a snapshotter that removes folders only when no record on disk
// refers to them any more, and shows those folders only that are no links.
type guarded struct {
	snapshots.Snapshotter
	dir     *os.File // of the snapshotter
	settle  func() error
	overlay *snapshotMeta // nil with another snapshotter
	made    *made
	// foreign are writable snapshots that the metadata did not know when the root was
	// opened, and no pull made.
	foreign map[string]bool
}

// Remove implements snapshots.Snapshotter. What a container wrote stays, if a
// collection finds no record of it: the record may be what was lost.
func (g *guarded) Remove(ctx context.Context, key string) error {
	if g.foreign[key] {
		return nil
	}
	if err := g.settle(); err != nil {
		return err
	}
	g.made.forget(key)
	return g.Snapshotter.Remove(ctx, key)
}

// Prepare implements snapshots.Snapshotter.
func (g *guarded) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := g.Snapshotter.Prepare(ctx, key, parent, opts...)
	mounts, err = g.checked(mounts, err)
	if err == nil && g.overlay == nil { // native shows the folder itself
		g.made.note(key, filepath.Base(mounts[0].Source))
	}
	return mounts, err
}

// View implements snapshots.Snapshotter.
func (g *guarded) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := g.Snapshotter.View(ctx, key, parent, opts...)
	return g.checked(mounts, err)
}

// Mounts implements snapshots.Snapshotter.
func (g *guarded) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	mounts, err := g.Snapshotter.Mounts(ctx, key)
	return g.checked(mounts, err)
}

func (g *guarded) checked(mounts []mount.Mount, err error) ([]mount.Mount, error) {
	if err == nil {
		err = checkMounts(g.dir, mounts)
	}
	if err != nil {
		return nil, err
	}
	return mounts, nil
}

// Cleanup implements snapshots.Cleaner.
func (g *guarded) Cleanup(ctx context.Context) error {
	if cleaner, ok := g.Snapshotter.(snapshots.Cleaner); ok {
		return cleaner.Cleanup(ctx)
	}
	return nil
}

// flushEvery bounds what a killed pull loses of its metadata.
const flushEvery = time.Second
