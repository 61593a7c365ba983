package root

import (
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// Records lists what eachRecord finds.
func Records(tx *bolt.Tx, snapshotter string) (all []leases.Resource, err error) {
	return all, eachRecord(tx, snapshotter, func(r leases.Resource) { all = append(all, r) })
}

// NamesBlob lets the tests ask a database of theirs.
func NamesBlob(tx *bolt.Tx, dgst digest.Digest) bool { return namesBlob(tx, dgst) }
