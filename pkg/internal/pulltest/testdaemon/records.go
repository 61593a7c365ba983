package testdaemon

import (
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Records is everything in the daemon's databases: images, blobs, ingests, snapshots, leases
// and labels of all namespaces. It leaves out the pages, which the daemon's collector
// writes anew.
func (d *Daemon) Records(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.Root, "io.containerd.*", "*.db"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		if err := addRecords(all, file, filepath.Join(t.TempDir(), "copy.db")); err != nil {
			t.Fatalf("reading %s: %v", file, err)
		}
	}
	if len(all) == 0 {
		t.Fatalf("got no record in %q", files)
	}
	return all
}

// addRecords reads a database from a copy, for the daemon has locked its own.
func addRecords(all map[string]string, file, copied string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		return err
	}
	db, err := bolt.Open(copied, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	var add func(at string, b *bolt.Bucket) error
	add = func(at string, b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			name := at + "/" + string(k)
			if v == nil {
				return add(name, b.Bucket(k))
			}
			all[name] = string(v)
			return nil
		})
	}
	return db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return add(filepath.Base(filepath.Dir(file))+"/"+string(name), b)
		})
	})
}
