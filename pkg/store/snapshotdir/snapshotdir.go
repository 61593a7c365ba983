// Package snapshotdir knows where containerd's snapshotters overlayfs, native and erofs
// keep the files of a snapshot: the folder has a number, and the database beside the folders
// says which. How the database is opened is the affair of store/root and store/daemon.
package snapshotdir

import (
	"encoding/binary"
	"path"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Database is where a snapshotter keeps its records, in its folder.
const Database = "metadata.db"

// labelSource is what snapshotter erofs notes of a layer whose image is not its own
// (plugins/snapshots/erofs/blobsource.go in containerd).
const labelSource = "io.containerd.erofs.v1/blob.source"

// Numbers is what the database of a snapshotter says of folders.
type Numbers struct {
	Records map[string]Record // by the name that the snapshotter has for a snapshot
	Parents map[string]string // of those that have one
	Last    uint64            // that was given out, or may have been
}

// Record is what the database says of the files of a snapshot.
type Record struct {
	ID     uint64 // the number of its folder
	Inodes int64  // the folder's own among them; 0 if they are not known
	Cached bool   // its image lies in a cache of snapshotter erofs
}

// Of reads the numbers. The layout is that of containerd's
// core/snapshots/storage/bolt.go:
//
//	v1/snapshots/NAME/id
//	v1/snapshots/NAME/inodes
//	v1/snapshots/NAME/parent
//	v1/snapshots/NAME/labels/KEY
func Of(tx *bolt.Tx) Numbers {
	n := Numbers{Records: map[string]Record{}, Parents: map[string]string{}}
	version := tx.Bucket([]byte("v1"))
	if version == nil {
		return n
	}
	all := version.Bucket([]byte("snapshots"))
	if all == nil {
		return n
	}
	n.Last = all.Sequence()
	_ = all.ForEachBucket(func(name []byte) error { // it returns what the function does
		b := all.Bucket(name)
		id, _ := binary.Uvarint(b.Get([]byte("id")))
		inodes, _ := binary.Varint(b.Get([]byte("inodes")))
		labels := b.Bucket([]byte("labels"))
		n.Records[string(name)] = Record{id, inodes, labels != nil && labels.Get([]byte(labelSource)) != nil}
		if parent := b.Get([]byte("parent")); len(parent) > 0 {
			n.Parents[string(name)] = string(parent)
		}
		return nil
	})
	return n
}

// Format writes a number as it stands in the name of a folder.
func Format(id uint64) string { return strconv.FormatUint(id, 10) }

// Folder is where the snapshotter keeps the files of the snapshot with that number,
// beneath its own folder; those of erofs lie beside it.
func Folder(snapshotter, number string) string {
	if snapshotter != store.Native {
		return path.Join("snapshots", number, "fs")
	}
	return path.Join("snapshots", number)
}
