package root_test

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// edit changes the metadata database of a root that is closed.
func edit(t *testing.T, dir string, change func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, "io.containerd.metadata.v1.bolt", "meta.db"), 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestNewerSchema is refused, and left as it is.
func TestNewerSchema(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	dir := t.TempDir()
	open := func() error {
		s, err := root.Open(t.Context(), store.Options{Root: dir})
		if err != nil {
			return err
		}
		return s.Close()
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	version := func(n int64) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("v1")).Put([]byte("version"), binary.AppendVarint(nil, n))
		}
	}
	edit(t, dir, version(5))
	if err := open(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v for schema version 5, want an invalid argument", err)
	}
	edit(t, dir, version(4))
	if err := open(); err != nil {
		t.Errorf("got %v for schema version 4, want it opened", err)
	}
	edit(t, dir, func(tx *bolt.Tx) error {
		if err := tx.DeleteBucket([]byte("v1")); err != nil {
			return err
		}
		_, err := tx.CreateBucket([]byte("v2"))
		return err
	})
	if err := open(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v for an unknown schema, want an invalid argument", err)
	}
}
