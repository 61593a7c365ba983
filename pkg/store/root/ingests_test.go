package root_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestSpoiltIngests finds ingests as a crash may leave them: a pull goes on
// with the blob or begins it anew, and a collection gets rid of them.
func TestSpoiltIngests(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"no time":       func(dir string) error { return os.Remove(filepath.Join(dir, "startedat")) },
		"a broken time": func(dir string) error { return os.WriteFile(filepath.Join(dir, "updatedat"), []byte("soon"), 0o600) },
		"an empty time": func(dir string) error { return os.Truncate(filepath.Join(dir, "startedat"), 0) },
		"a folder as time": func(dir string) error {
			if err := os.Remove(filepath.Join(dir, "startedat")); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(dir, "startedat"), 0o700)
		},
		"no data":       func(dir string) error { return os.Remove(filepath.Join(dir, "data")) },
		"no ref":        func(dir string) error { return os.Remove(filepath.Join(dir, "ref")) },
		"another's ref": func(dir string) error { return os.WriteFile(filepath.Join(dir, "ref"), []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := teststore.Open(t, store.Options{Root: dir})
			ctx, l, _ := teststore.Lease(t, s, teststore.Ref)
			want := teststore.Ingest(ctx, t, s, "ten bytes.")
			dirs, err := filepath.Glob(filepath.Join(dir, "io.containerd.content.v1.content/ingest/*"))
			if err != nil {
				t.Fatal(err)
			}
			if len(dirs) != 1 {
				t.Fatalf("got ingests %v, want one", dirs)
			}
			if err := spoil(dirs[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Content.ListStatuses(ctx); err != nil {
				t.Errorf("listing: got %v, want what there is", err)
			}
			again, err := content.OpenWriter(ctx, s.Content, content.WithRef("layer-"+want.String()))
			if err != nil {
				t.Fatal(err)
			}
			status, err := again.Status()
			if err != nil {
				t.Fatal(err)
			}
			if status.Offset != 0 {
				t.Errorf("got an offset of %d, want it begun anew", status.Offset)
			}
			if _, err := again.Write([]byte("ten bytes.")); err != nil {
				t.Fatal(err)
			}
			if err := again.Commit(ctx, 10, want); err != nil {
				t.Errorf("got %v, want it committed", err)
			}

			teststore.Ingest(ctx, t, s, "another one")
			begun := filepath.Join(dir, "io.containerd.content.v1.content/ingest", digest.FromString(ingestKey(t, dir)).Encoded())
			if err := spoil(begun); err != nil {
				t.Fatal(err)
			}
			if err := l.Delete(s.Context(t.Context())); err != nil {
				t.Fatal(err)
			}
			foretold, err := s.GC(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			freed, err := s.GC(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if freed.Ingests.Count != 1 || foretold.Ingests.Count != 1 {
				t.Errorf("got %+v freed, and %+v foretold, want one ingest", freed, foretold)
			}
			left, err := os.ReadDir(filepath.Dir(begun))
			if err != nil {
				t.Fatal(err)
			}
			if len(left) != 0 {
				t.Errorf("got %v left, want nothing", left)
			}
		})
	}
}

// ingestKey is the ref of the only ingest of a root.
func ingestKey(t *testing.T, dir string) string {
	t.Helper()
	refs, err := filepath.Glob(filepath.Join(dir, "io.containerd.content.v1.content/ingest/*/ref"))
	if err != nil {
		t.Fatal(err)
	}
	if len(refs) != 1 {
		t.Fatalf("got %v, want the ref of one ingest", refs)
	}
	data, err := os.ReadFile(refs[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestGCOfANewRoot has nothing to do.
func TestGCOfANewRoot(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	for _, dryRun := range []bool{true, false} {
		if freed, err := s.GC(t.Context(), dryRun); err != nil || freed.Blobs.Count != 0 {
			t.Errorf("got %+v and %v, want nothing", freed, err)
		}
	}
	_, l, _ := teststore.Lease(t, s, teststore.Ref)
	if err := l.Delete(s.Context(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := s.Collect(t.Context(), store.Garbage); err != nil {
		t.Errorf("collecting: got %v, want nothing", err)
	}
}
