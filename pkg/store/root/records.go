package root

import (
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// eachRecord calls fn for every blob, ingest and snapshot that the metadata of
// some namespace refers to, under the name that the stores below the metadata
// have for it. What does not have the layout of containerd's
// core/metadata/buckets.go is passed over:
//
//	v1/NAMESPACE/content/blob/DIGEST
//	v1/NAMESPACE/content/ingests/REF/ref
//	v1/NAMESPACE/snapshots/SNAPSHOTTER/KEY/name
func eachRecord(tx *bolt.Tx, snapshotter string, fn func(leases.Resource)) error {
	return eachBucket(tx.Bucket([]byte(schemaBucket)), func(_ string, ns *bolt.Bucket) error {
		call := func(kind, key string) func(string, *bolt.Bucket) error {
			return func(id string, b *bolt.Bucket) error {
				if key != "" {
					id = string(b.Get([]byte(key)))
				}
				if id != "" {
					fn(leases.Resource{ID: id, Type: kind})
				}
				return nil
			}
		}
		return errors.Join(
			eachBucket(below(ns, "content", "blob"), call(store.ResourceContent, "")),
			eachBucket(below(ns, "content", "ingests"), call(store.ResourceIngest, "ref")),
			eachBucket(below(ns, "snapshots", snapshotter), call(store.ResourceSnapshot+snapshotter, "name")))
	})
}

// below descends into buckets; nil where there is none.
func below(b *bolt.Bucket, names ...string) *bolt.Bucket {
	for _, name := range names {
		if b == nil || name == "" {
			return nil
		}
		b = b.Bucket([]byte(name))
	}
	return b
}

// eachBucket calls fn for the buckets in b, which may be nil.
func eachBucket(b *bolt.Bucket, fn func(name string, b *bolt.Bucket) error) error {
	if b == nil {
		return nil
	}
	return b.ForEachBucket(func(name []byte) error { return fn(string(name), b.Bucket(name)) })
}

// known is the set of all records of a metadata database.
func known(db *bolt.DB, snapshotter string) (map[leases.Resource]bool, error) {
	all := map[leases.Resource]bool{}
	err := db.View(func(tx *bolt.Tx) error {
		return eachRecord(tx, snapshotter, func(r leases.Resource) { all[r] = true })
	})
	if err != nil {
		return nil, fmt.Errorf("reading the metadata: %w", err)
	}
	return all, nil
}

// namesBlob reports whether some namespace of the metadata knows a blob.
func namesBlob(state *bolt.Tx, dgst digest.Digest) bool {
	found := false
	blob := leases.Resource{ID: dgst.String(), Type: store.ResourceContent}
	err := eachRecord(state, "", func(r leases.Resource) { found = found || r == blob })
	return found || err != nil
}
