package root

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/boltcheck"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
	"github.com/containerd-pull/containerd-pull/pkg/store/snapshotdir"
)

// The functions of this file find out whether the databases of a root are those of
// the files beside them. containerd takes files for garbage that a database does not
// know, so one that was lost or replaced would cost all of them, the writable layers of
// containers among them.

// wrongDatabase is an error about a database that is whole, but another one.
func wrongDatabase(format string, args ...any) error {
	return boltcheck.Damaged(format, args...)
}

// checkSchema refuses what is not the metadata database, or that of a newer
// containerd.
func checkSchema(tx *bolt.Tx) error {
	bucket := tx.Bucket([]byte(schemaBucket))
	if bucket == nil {
		if key, _ := tx.Cursor().First(); key != nil {
			return failure.New(errdefs.ErrInvalidArgument, "metadata database has an unknown schema %q", key)
		}
		return nil
	}
	version, n := binary.Varint(bucket.Get([]byte("version")))
	if n <= 0 {
		return wrongDatabase("it is not containerd's metadata database")
	}
	if version > schemaVersion {
		return failure.New(errdefs.ErrInvalidArgument, "metadata database has schema version %d, newer than %d", version, schemaVersion)
	}
	return nil
}

// checkSnapshots refuses what is not the database of a snapshotter.
func checkSnapshots(tx *bolt.Tx) error {
	err := tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		if string(name) != schemaBucket {
			return wrongDatabase("it is not that of a snapshotter")
		}
		return b.ForEach(func(name, value []byte) error {
			if value != nil || string(name) != "snapshots" && string(name) != "parents" {
				return wrongDatabase("it is not that of a snapshotter")
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return numbersIn(tx).checkParents()
}

// numbers is what the database of the snapshotter says of folders.
type numbers struct{ snapshotdir.Numbers }

func numbersIn(tx *bolt.Tx) numbers { return numbers{snapshotdir.Of(tx)} }

// checkParents follows each snapshot down to one without a parent, which containerd
// does without an end.
func (n numbers) checkParents() error {
	down := map[string]bool{} // those that lead to an end
	for name := range n.Records {
		var way []string
		for at, more := name, true; more && !down[at]; at, more = n.Parents[at], n.Parents[at] != "" {
			if way = append(way, at); len(way) > len(n.Records)+1 {
				return wrongDatabase("snapshot %q lies on itself", name)
			}
		}
		for _, at := range way {
			down[at] = true
		}
	}
	return nil
}

// known are the folders that belong to snapshots.
func (n numbers) known() map[string]bool {
	known := map[string]bool{}
	for _, of := range n.Records {
		known[snapshotdir.Format(of.ID)] = true
	}
	return known
}

// checkFolders compares them with the folders of the snapshotter: one that was never
// given out, with files in it, is of another database.
func (p *place) checkFolders(snapshotter string, n numbers) error {
	d := snapshotsFile(snapshotter)
	dir := filepath.Join(p.path, snapshotDir+snapshotter, "snapshots")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", unfit(err))
	}
	known, strange := n.known(), 0
	for _, e := range entries {
		if e.Type()&os.ModeSymlink != 0 {
			return unfit(&os.PathError{Op: "open", Path: filepath.Join(dir, e.Name()), Err: unix.ELOOP})
		}
		id, err := strconv.ParseUint(e.Name(), 10, 64)
		if err == nil && id > n.Last && !known[e.Name()] && !isBare(filepath.Join(dir, e.Name())) {
			strange++
		}
	}
	if strange == 0 {
		return nil
	}
	return p.damaged(d, wrongDatabase("it does not know %d of the snapshots in %s", strange, dir))
}

// isBare reports whether the folder of a snapshot has no file in it, as when it was
// just made.
func isBare(dir string) bool {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != "fs" && e.Name() != "work" || !e.IsDir() {
			return false
		}
		below, err := os.ReadDir(filepath.Join(dir, e.Name()))
		if err != nil || len(below) > 0 {
			return false
		}
	}
	return err == nil
}

// checkMetadata is an error if the metadata database knows of nothing although there
// is something, or only of other snapshots than the snapshotter. A root that is begun by
// this program names its namespace before anything else is written.
func (p *place) checkMetadata(tx *bolt.Tx, snapshotter string, n numbers) error {
	empty := true
	err := eachBucket(tx.Bucket([]byte(schemaBucket)), func(string, *bolt.Bucket) error { empty = false; return nil })
	if err != nil {
		return err
	}
	if empty {
		has, err := p.holdings(snapshotter)
		if err != nil {
			return err
		}
		if has.any() {
			return p.damaged(metadataFile(), wrongDatabase("it knows of nothing, and beside it there are %s", has))
		}
	}
	common, lost := 0, 0
	err = eachRecord(tx, snapshotter, func(r leases.Resource) {
		if _, there := n.Records[r.ID]; r.Type != store.ResourceSnapshot+snapshotter {
			return
		} else if there {
			common++
		} else {
			lost++
		}
	})
	if err == nil && common == 0 && lost > 0 && n.strange(tx, snapshotter) {
		return p.damaged(snapshotsFile(snapshotter), wrongDatabase("it knows none of the %d snapshots that %s knows; one of the two is that of another root", lost, filepath.Join(p.path, metadataFile().name)))
	}
	return err
}

// strange reports whether a snapshot is not one of those that a killed process made
// last.
func (n numbers) strange(tx *bolt.Tx, snapshotter string) bool {
	for name := range n.Records {
		if !isTail(tx, snapshotter, name) {
			return true
		}
	}
	return false
}

// isTail reports whether the name of a snapshot was given out after the metadata
// database was written the last time, by a process that was killed. The names are
// those of containerd's core/metadata/snapshot.go: NAMESPACE/NUMBER/KEY.
func isTail(tx *bolt.Tx, snapshotter, name string) bool {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) != 3 {
		return false
	}
	ns := below(tx.Bucket([]byte(schemaBucket)), parts[0])
	number, err := strconv.ParseUint(parts[1], 10, 64)
	if ns == nil || err != nil {
		return false
	}
	given := below(ns, "snapshots", snapshotter)
	return given == nil || number > given.Sequence()
}

// checkThere is an error if a database is not there, or empty, and what it knew is.
func (p *place) checkThere(d database, beside func() (holdings, error)) error {
	info, err := os.Lstat(filepath.Join(p.path, d.name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return unfit(err)
	}
	if err == nil && info.Size() > 0 {
		return nil
	}
	has, unknown := beside()
	if unknown != nil || !has.any() {
		return unknown
	}
	how := "is gone"
	if err == nil {
		how = "is empty"
	}
	return failure.New(errdefs.ErrDataLoss, "%s %s, and beside it there is what it knew: %s", filepath.Join(p.path, d.name), how, has).WithHint("%s", p.wayOut(d))
}

// checkDatabases is an error if one of the two databases was lost.
func (p *place) checkDatabases(snapshotter string) error {
	err := p.checkThere(metadataFile(), func() (holdings, error) { return p.holdings(snapshotter) })
	if err != nil {
		return err
	}
	return p.checkThere(snapshotsFile(snapshotter), func() (has holdings, err error) {
		has.snapshots, err = p.snapshots(snapshotter)
		return has, err
	})
}

// holdings is what there is in a root.
type holdings struct{ blobs, snapshots int }

func (h holdings) any() bool { return h.blobs+h.snapshots > 0 }

func (h holdings) String() string {
	return fmt.Sprintf("%d blobs and %d unpacked layers", h.blobs, h.snapshots)
}

// holdings counts the blobs, and the snapshots.
func (p *place) holdings(snapshotter string) (h holdings, err error) {
	if h.snapshots, err = p.snapshots(snapshotter); err != nil {
		return h, err
	}
	err = contentdir.Blobs(filepath.Join(p.path, contentDir)).Walk(context.Background(), func(content.Info) error {
		h.blobs++
		return nil
	})
	if err != nil {
		return h, fmt.Errorf("counting the blobs: %w", unfit(err))
	}
	return h, nil
}

// snapshots counts those that have files in them.
func (p *place) snapshots(snapshotter string) (int, error) {
	dir := filepath.Join(p.path, snapshotDir+snapshotter, "snapshots")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("counting the snapshots: %w", unfit(err))
	}
	return len(slices.DeleteFunc(entries, func(e os.DirEntry) bool { return isBare(filepath.Join(dir, e.Name())) })), nil
}

// wayOut says how to go on without a database.
func (p *place) wayOut(d database) string {
	away := "the whole folder " + p.path
	if !strings.HasPrefix(d.name, metadataDir) {
		away = filepath.Join(p.path, filepath.Dir(d.name))
	}
	return fmt.Sprintf("nothing was changed; put a copy of %s back if there is one, or move %s away: the next pull then begins anew, "+
		"and what containers wrote can still be read there", filepath.Base(d.name), away)
}
