package daemon_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// plantRecords writes a snapshotter's database with snapshots of two namespaces into
// dir, some of which were removed and made anew.
func plantRecords(t *testing.T, dir string, count int) string {
	t.Helper()
	path := filepath.Join(dir, "metadata.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		version, err := tx.CreateBucket([]byte("v1"))
		if err != nil {
			return err
		}
		all, err := version.CreateBucket([]byte("snapshots"))
		for i := range uint64(count) {
			if err != nil {
				return err
			}
			err = plantRecord(all, fmt.Sprintf("here/%d/sn%d", i, i%100), i)
		}
		if err == nil {
			err = plantRecord(all, "there/9999/sn0", 77777)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func plantRecord(all *bolt.Bucket, name string, id uint64) error {
	b, err := all.CreateBucket([]byte(name))
	if err != nil {
		return err
	}
	return b.Put([]byte("id"), binary.AppendUvarint(nil, id))
}

// TestNumbers wants the latest snapshot of a name to count, of its namespace alone.
func TestNumbers(t *testing.T) {
	dir := t.TempDir()
	plantRecords(t, dir, 250)
	got, err := daemon.ReadNumbers(dir, "here")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 100 || got["sn0"] != "200" || got["sn60"] != "160" {
		t.Errorf("got %d numbers, sn0 %q and sn60 %q, want 100, 200 and 160", len(got), got["sn0"], got["sn60"])
	}
}

// TestNumbersOfTornRecords tears a database in random ways, as a reader sees it while
// the daemon writes, or as a crash leaves it: there are numbers or an error, and no
// panic.
func TestNumbersOfTornRecords(t *testing.T) {
	dir := t.TempDir()
	path := plantRecords(t, dir, 500)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 300 {
		torn := append([]byte(nil), whole...)
		for range 1 + random.IntN(4) {
			from, to := random.IntN(len(torn)-512), random.IntN(len(torn)-512)
			copy(torn[to:to+1+random.IntN(512)], whole[from:])
		}
		if random.IntN(4) == 0 {
			torn = torn[:random.IntN(len(torn))]
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := daemon.ReadNumbers(dir, "here"); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("got no error, want torn databases refused")
	}
}
