package root_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// database makes a database of keys "a/b/key=value"; a path that ends in a slash
// is an empty bucket.
func database(t *testing.T, keys ...string) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Update(func(tx *bolt.Tx) error {
		for _, key := range keys {
			key, value, _ := strings.Cut(key, "=")
			parts := strings.Split(key, "/")
			bucket, err := tx.CreateBucketIfNotExists([]byte(parts[0]))
			for _, part := range parts[1 : len(parts)-1] {
				if err == nil {
					bucket, err = bucket.CreateBucketIfNotExists([]byte(part))
				}
			}
			if last := parts[len(parts)-1]; err == nil && last != "" {
				err = bucket.Put([]byte(last), []byte(value))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// TestRecords reads databases that are whole, and what may be in the place of one.
func TestRecords(t *testing.T) {
	blob := digest.FromString("blob")
	for _, tt := range []struct {
		name string
		keys []string
		want []leases.Resource
	}{
		{"empty", nil, nil},
		{"of another schema", []string{"v2/default/content/blob/" + blob.String() + "/"}, nil},
		{"without namespaces", []string{"v1/version=4"}, nil},
		{"whole", []string{
			"v1/version=4",
			"v1/default/content/blob/" + blob.String() + "/size=1",
			"v1/default/content/ingests/layer/ref=default/1/layer",
			"v1/default/snapshots/overlayfs/sha256:x/name=default/1/sha256:x",
			"v1/default/snapshots/native/sha256:x/name=default/2/sha256:x",
			"v1/k8s.io/content/blob/" + blob.String() + "/size=1",
		}, []leases.Resource{
			{ID: blob.String(), Type: "content"},
			{ID: "default/1/layer", Type: "ingests"},
			{ID: "default/1/sha256:x", Type: "snapshots/overlayfs"},
			{ID: blob.String(), Type: "content"},
		}},
		{"records without a name", []string{
			"v1/default/content/ingests/layer/", "v1/default/snapshots/overlayfs/sha256:x/", "v1/default/snapshots/overlayfs/y/name=",
		}, nil},
		{"values in the place of buckets", []string{
			"v1/default/content=x", "v1/other/content/blob=x", "v1/other/content/ingests=x", "v1/other/snapshots/overlayfs=x",
		}, nil},
		{"values in the place of records", []string{
			"v1/default/content/blob/x=y", "v1/default/content/ingests/x=y", "v1/default/snapshots/overlayfs/x=y",
		}, nil},
		{"one that is broken beside one that is not", []string{
			"v1/a/content=x", "v1/b/content/blob/" + blob.String() + "/",
		}, []leases.Resource{{ID: blob.String(), Type: "content"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := database(t, tt.keys...).View(func(tx *bolt.Tx) error {
				got, err := root.Records(tx, "overlayfs")
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
				named := len(tt.want) > 0
				if root.NamesBlob(tx, blob) != named || root.NamesBlob(tx, digest.FromString("other")) {
					t.Errorf("got the blob named %v, want %v", root.NamesBlob(tx, blob), named)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
