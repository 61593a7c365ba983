package fetch_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPut stores bytes that are in hand whatever was left in the ingest, with
// labels, and adds labels to those that are there.
func TestPut(t *testing.T) {
	for name, leave := range map[string]func(data []byte) []byte{
		"nothing left":   func([]byte) []byte { return nil },
		"half of it":     func(data []byte) []byte { return data[:len(data)/2] },
		"all of it":      func(data []byte) []byte { return data },
		"something else": func([]byte) []byte { return []byte("something else") },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, 1000, func(t *testing.T, b *bench) {
				left := b.ingest()
				if _, err := left.Write(leave(b.data)); err != nil {
					t.Fatal(err)
				}
				if err := left.Close(); err != nil {
					t.Fatal(err)
				}
				for _, label := range []string{"first", "second"} {
					if err := b.fetcher().Put(b.ctx, b.blob, b.data, map[string]string{label: "yes"}); err != nil {
						t.Fatal(err)
					}
					b.stored()
				}
				info, err := b.store.Content.Info(b.ctx, b.blob.Desc.Digest)
				if diff := cmp.Diff(map[string]string{"first": "yes", "second": "yes"}, info.Labels); err != nil || diff != "" {
					t.Errorf("got error %v and labels (-want +got):\n%s", err, diff)
				}
				b.served(0, 0)
			})
		})
	}
}
