package daemon

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/internal/boltcheck"
	"github.com/containerd-pull/containerd-pull/pkg/store/snapshotdir"
)

// maxRecords bounds the database of a snapshotter that is read: 64 MiB are those of
// some hundred thousand snapshots.
const maxRecords = 64 << 20

// numbers are what the records of the snapshots of one namespace say of their files,
// by name.
type numbers map[string]snapshotdir.Record

// readNumbers reads the numbers out of the database in the folder of the daemon's
// snapshotter. The daemon keeps it locked and may be writing it: what is read is a
// copy, which has to be whole in itself.
func readNumbers(dir *os.File, namespace string) (numbers, error) {
	var err error
	for range scans {
		var all map[string]snapshotdir.Record
		if all, err = readCopy(dir); err == nil {
			return ofNamespace(all, namespace), nil
		}
	}
	return nil, err
}

// readCopy reads what the records of all snapshots say, out of a copy in memory.
func readCopy(dir *os.File) (map[string]snapshotdir.Record, error) {
	f, err := beneath.File(dir, snapshotdir.Database, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.MemfdCreate("records", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating a file in memory: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "records")
	defer memory.Close()
	size, err := io.Copy(memory, io.LimitReader(f, maxRecords+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("copying %s: %w", f.Name(), err)
	case size > maxRecords:
		return nil, fmt.Errorf("%s has more than %d bytes", f.Name(), maxRecords)
	}
	if err := boltcheck.Pages(memory, size); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return parse(memory)
}

// parse reads the records of a database that is whole.
func parse(file *os.File) (all map[string]snapshotdir.Record, err error) {
	db, err := bolt.Open(beneath.Path(file), 0, &bolt.Options{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("opening a copy of records: %w", err)
	}
	defer db.Close()
	return all, db.View(func(tx *bolt.Tx) error {
		all = snapshotdir.Of(tx).Records
		return nil
	})
}

// ofNamespace picks those of a namespace. The metadata calls a snapshot
// NAMESPACE/SEQUENCE/NAME; of two of one name the one with the lower sequence was
// removed and is still to be collected.
func ofNamespace(all map[string]snapshotdir.Record, namespace string) numbers {
	n, latest := numbers{}, map[string]uint64{}
	for key, of := range all {
		parts := strings.SplitN(key, "/", 3)
		if len(parts) < 3 || parts[0] != namespace {
			continue
		}
		sequence, err := strconv.ParseUint(parts[1], 10, 64)
		if name := parts[2]; err == nil && sequence >= latest[name] {
			n[name], latest[name] = of, sequence
		}
	}
	return n
}
