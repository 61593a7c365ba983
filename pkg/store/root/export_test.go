package root

import (
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
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

// Ownerless is the applier of a user namespace that knows one user.
func Ownerless(blobs content.Provider) diff.Applier { return ownerless{blobs} }
