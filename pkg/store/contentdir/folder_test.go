package contentdir_test

import (
	"context"
	_ "crypto/sha512" // a digest of which one blob has
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

// open opens a content folder; settled counts how often the metadata was written.
func open(t *testing.T) (f *contentdir.Folder, root string, settled *int) {
	t.Helper()
	root, settled = t.TempDir(), new(int)
	var err error
	f, err = contentdir.Open(root, multibuffer.New(), func() error { *settled++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return f, root, settled
}

// begin writes text to the ingest ref.
func begin(t *testing.T, f *contentdir.Folder, ref, text string, opts ...content.WriterOpt) content.Writer {
	t.Helper()
	w, err := f.Writer(t.Context(), append(opts, content.WithRef(ref))...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	return w
}

func commit(t *testing.T, f *contentdir.Folder, text string) digest.Digest {
	t.Helper()
	dgst := digest.FromString(text)
	if err := begin(t, f, "of "+text, text).Commit(t.Context(), int64(len(text)), dgst); err != nil {
		t.Fatal(err)
	}
	return dgst
}

func ingests(t *testing.T, root string) int {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "ingest", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestCommit(t *testing.T) {
	const text = "a blob"
	for name, tt := range map[string]struct {
		size     int64
		expected digest.Digest
		refused  bool
	}{
		"known":              {int64(len(text)), digest.FromString(text), false},
		"of unknown size":    {0, digest.FromString(text), false},
		"of unknown digest":  {int64(len(text)), "", false},
		"by another hash":    {int64(len(text)), digest.SHA512.FromString(text), false},
		"of another size":    {7, digest.FromString(text), true},
		"of another digest":  {int64(len(text)), digest.FromString("x"), true},
		"by a wrong SHA-512": {int64(len(text)), digest.SHA512.FromString("x"), true},
	} {
		t.Run(name, func(t *testing.T) {
			f, root, _ := open(t)
			w := begin(t, f, "ref", text)
			err := w.Commit(t.Context(), tt.size, tt.expected)
			if tt.refused != errdefs.IsFailedPrecondition(err) || !tt.refused && err != nil {
				t.Fatalf("got %v, want it refused: %v", err, tt.refused)
			}
			if again := w.Commit(t.Context(), tt.size, tt.expected); !errdefs.IsFailedPrecondition(again) {
				t.Errorf("got %v from a second commit, want it refused", again)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if tt.refused {
				if n := ingests(t, root); n != 1 {
					t.Errorf("got %d ingests, want the bytes kept", n)
				}
				return
			}
			dgst := tt.expected
			if dgst == "" {
				dgst = digest.FromString(text)
			}
			path := contentdir.BlobFile(root, dgst)
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("got %q and %v, want the blob", got, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o444 {
				t.Errorf("got %v and %v, want a file that is only read", info.Mode(), err)
			}
			if n := ingests(t, root); n != 0 {
				t.Errorf("got %d ingests left, want none", n)
			}
		})
	}
}

// TestCommitTwice keeps the first file, unless it is what a crash left.
func TestCommitTwice(t *testing.T) {
	f, root, _ := open(t)
	dgst := commit(t, f, "twice")
	if err := begin(t, f, "again", "twice").Commit(t.Context(), 5, dgst); !errdefs.IsAlreadyExists(err) {
		t.Errorf("got %v, want the blob to exist", err)
	}
	file := contentdir.BlobFile(root, dgst)
	if err := errors.Join(os.Chmod(file, 0o600), os.Truncate(file, 2)); err != nil {
		t.Fatal(err)
	}
	if err := begin(t, f, "once more", "twice").Commit(t.Context(), 5, dgst); err != nil {
		t.Errorf("got %v, want the file of another size replaced", err)
	}
	if got, err := os.ReadFile(contentdir.BlobFile(root, dgst)); err != nil || string(got) != "twice" {
		t.Errorf("got %q and %v, want the blob", got, err)
	}
	if n := ingests(t, root); n != 0 {
		t.Errorf("got %d ingests left, want none", n)
	}
}

func TestWriterIsExclusive(t *testing.T) {
	f, _, _ := open(t)
	w := begin(t, f, "ref", "some ")
	if _, err := f.Writer(t.Context(), content.WithRef("ref")); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v, want the ingest locked", err)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	w = begin(t, f, "ref", "more")
	if status, err := w.Status(); err != nil || status.Offset != 9 {
		t.Errorf("got %+v and %v, want the ingest continued", status, err)
	}
	if err := w.Commit(t.Context(), 9, digest.FromString("some more")); err != nil {
		t.Error(err)
	}
}

func TestTruncate(t *testing.T) {
	f, _, _ := open(t)
	w := begin(t, f, "ref", "wrong bytes")
	if err := w.Truncate(3); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v of a size that is not 0, want it refused", err)
	}
	if err := w.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "right"); err != nil {
		t.Fatal(err)
	}
	if w.Digest() != digest.FromString("right") {
		t.Errorf("got digest %s, want that of the new bytes", w.Digest())
	}
	if err := w.Commit(t.Context(), 5, digest.FromString("right")); err != nil {
		t.Error(err)
	}
}

// TestSync reports a blob that it could not write for as long as it is named.
func TestSync(t *testing.T) {
	f, root, _ := open(t)
	named := func(want ...digest.Digest) func(digest.Digest) bool {
		return func(dgst digest.Digest) bool {
			for _, w := range want {
				if w == dgst {
					return true
				}
			}
			return false
		}
	}
	collected, lost := commit(t, f, "collected meanwhile"), commit(t, f, "cannot be read")
	if err := os.Remove(contentdir.BlobFile(root, collected)); err != nil {
		t.Fatal(err)
	}
	// A loop of links cannot be opened, not even by root.
	path := contentdir.BlobFile(root, lost)
	if err := errors.Join(os.Remove(path), os.Symlink(path, path)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Sync(named(collected, lost)); err == nil {
			t.Error("got no error for a blob that is not on the disk")
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the lost blob, want it removed", err)
	}
	for _, names := range []func(digest.Digest) bool{named(), named(lost)} { // forgotten, once it is not named
		if err := f.Sync(names); err != nil {
			t.Errorf("got %v", err)
		}
	}
}

func TestDeleteSettlesBefore(t *testing.T) {
	f, root, settled := open(t)
	dgst := commit(t, f, "to be deleted")
	if err := f.Delete(t.Context(), dgst); err != nil || *settled != 1 {
		t.Errorf("got %v, and the metadata written %d times, want once", err, *settled)
	}
	failing := errors.New("the disk fails")
	var err error
	f, err = contentdir.Open(root, multibuffer.New(), func() error { return failing })
	if err != nil {
		t.Fatal(err)
	}
	dgst = commit(t, f, "to stay")
	if err := f.Delete(t.Context(), dgst); !errors.Is(err, failing) {
		t.Errorf("got %v, want %v", err, failing)
	}
	if _, err := os.Stat(contentdir.BlobFile(root, dgst)); err != nil {
		t.Errorf("got %v for a blob whose record may be on disk, want it there", err)
	}
}

func TestWalkOfANewFolder(t *testing.T) {
	f, _, _ := open(t)
	count := 0
	walk := func() error {
		return f.Walk(t.Context(), func(content.Info) error { count++; return nil })
	}
	if err := walk(); err != nil || count != 0 {
		t.Errorf("got %d blobs and %v of a new folder, want none", count, err)
	}
	commit(t, f, "first")
	if err := walk(); err != nil || count != 1 {
		t.Errorf("got %d blobs and %v, want one", count, err)
	}
}

func TestStatuses(t *testing.T) {
	f, root, _ := open(t)
	if all, err := f.ListStatuses(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("got %v and %v of a new folder, want none", all, err)
	}
	for _, ref := range []string{"one", "two"} {
		w := begin(t, f, ref, "text of "+ref, content.WithDescriptor(ocispec.Descriptor{Size: 100}))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	one, err := f.Status(t.Context(), "one")
	if err != nil || one.Offset != 11 || one.Total != 100 || time.Since(one.StartedAt) > time.Minute || one.UpdatedAt.IsZero() {
		t.Errorf("got %+v and %v", one, err)
	}
	if _, err := f.Status(t.Context(), "three"); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for an ingest that is not there, want not found", err)
	}
	if some, err := f.ListStatuses(t.Context(), "ref==two"); err != nil || len(some) != 1 || some[0].Ref != "two" {
		t.Errorf("got %v and %v, want the second", some, err)
	}
	if _, err := f.ListStatuses(t.Context(), "ref=="); err == nil {
		t.Error("got no error for a filter that is none")
	}
	dir := filepath.Join(root, "ingest", digest.FromString("two").Encoded())
	if err := os.Remove(filepath.Join(dir, "ref")); err != nil {
		t.Fatal(err)
	}
	if all, err := f.ListStatuses(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("got %v and %v, want the one that has a ref", all, err)
	}
	if lost, err := f.Nameless(); err != nil || len(lost) != 1 || lost[dir] != 11 {
		t.Errorf("got %v and %v, want the one without, with its bytes", lost, err)
	}
}

func TestBlobs(t *testing.T) {
	f, root, _ := open(t)
	const text = "read only"
	dgst := commit(t, f, text)
	blobs := contentdir.Blobs(root)
	if got, err := content.ReadBlob(t.Context(), blobs, ocispec.Descriptor{Digest: dgst, Size: int64(len(text))}); err != nil || string(got) != text {
		t.Errorf("got %q and %v, want the blob", got, err)
	}
	if _, err := blobs.ReaderAt(t.Context(), ocispec.Descriptor{Digest: digest.FromString("absent")}); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for a blob that is not there", err)
	}
	if _, err := blobs.ReaderAt(context.Background(), ocispec.Descriptor{Digest: "sha256:../../ingest"}); err == nil {
		t.Error("got a file for what is no digest")
	}
}

// TestOpenIngest finds the file among those of other namespaces and refs, and does
// not follow a link.
func TestOpenIngest(t *testing.T) {
	f, root, _ := open(t)
	for _, ref := range []string{"one/1/layer", "two/2/layer", "one/3/other-layer"} {
		if err := begin(t, f, ref, ref).Close(); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	status, err := f.Status(t.Context(), "two/2/layer")
	if err != nil {
		t.Fatal(err)
	}
	find := func(ns, ref string, late time.Duration) *os.File {
		return contentdir.OpenIngest(dir, ns, ref, status.StartedAt.Add(late), os.O_RDONLY)
	}
	file := find("two", "layer", 0)
	if file == nil {
		t.Fatal("the ingest was not found")
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || string(got) != "two/2/layer" {
		t.Errorf("got %q and %v, want the ingest of the namespace", got, err)
	}
	if other := find("two", "layer", time.Nanosecond); other != nil {
		t.Errorf("got %s, want no ingest that was begun at another time", other.Name())
	}
	data := filepath.Join(root, "ingest", digest.FromString("two/2/layer").Encoded(), "data")
	if err := errors.Join(os.Remove(data), os.Symlink("/etc/hostname", data)); err != nil {
		t.Fatal(err)
	}
	for _, at := range [][2]string{{"two", "layer"}, {"three", "layer"}, {"one", "absent"}, {"one", "layer"}} {
		if file := find(at[0], at[1], 0); file != nil {
			t.Errorf("got %s for %v, want none", file.Name(), at)
		}
	}
}

// TestWriteback looks for its file once, and not before there is enough to write.
func TestWriteback(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	w := contentdir.Writeback{Find: func() *os.File { found++; return file }}
	for _, step := range []struct {
		size int64
		want int
	}{{1 << 20, 0}, {8 << 20, 1}, {20 << 20, 1}, {0, 1}, {9 << 20, 1}} {
		w.Grown(step.size)
		if found != step.want {
			t.Errorf("at %d bytes: got the file looked for %d times, want %d", step.size, found, step.want)
		}
	}
	w.Release()
	if err := file.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want the file closed", err)
	}
	none := contentdir.Writeback{Find: func() *os.File { return nil }}
	none.Grown(64 << 20)
	none.Release()
}
