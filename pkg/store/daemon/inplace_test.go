package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// large is a blob that is worth writing in place.
func large() ([]byte, ocispec.Descriptor) {
	noise := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	b := pulltest.NewBlob(noise)
	return noise, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: b.Digest, Size: b.Size}
}

// shared dials a daemon and proves that it shares the file system.
func shared(t *testing.T, d *testdaemon.Daemon) (*store.Store, context.Context) {
	t.Helper()
	s := teststore.Dial(t, store.Options{Address: d.Address})
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	mounts, err := s.Snapshotter.Prepare(ctx, "proof", "")
	if err != nil {
		t.Fatal(err)
	}
	u, why := s.Upper(ctx, "proof", mounts)
	if u == nil {
		t.Fatalf("the file system is not shared: %s", why)
	}
	u.Close()
	return s, ctx
}

// ingestData is the file in which d collects the ingest ref of namespace ns, "" if
// there is none.
func ingestData(t *testing.T, d *testdaemon.Daemon, ns, ref string) string {
	t.Helper()
	refs, err := filepath.Glob(filepath.Join(d.Root, "io.containerd.content.v1.content/ingest/*/ref"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range refs {
		text, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(text), ns+"/") && strings.HasSuffix(string(text), "/"+ref) {
			return filepath.Join(filepath.Dir(name), "data")
		}
	}
	return ""
}

// TestInPlace writes blobs into the daemon's file, whatever becomes of that
// before they are committed.
func TestInPlace(t *testing.T) {
	blob, desc := large()
	for name, strike := range map[string]func(path string) error{
		"undisturbed": func(string) error { return nil },
		// As if the daemon had another file.
		"removed": os.Remove,
	} {
		for _, version := range testdaemon.Versions() {
			t.Run(name+"/"+version, func(t *testing.T) {
				t.Parallel()
				d := testdaemon.Start(t, testdaemon.Options{Version: version})
				s, ctx := shared(t, d)
				w, err := s.Content.Writer(ctx, content.WithRef("layer"), content.WithDescriptor(desc))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(bytes.Repeat([]byte("wrong"), 1<<19)); err != nil {
					t.Fatal(err)
				}
				if err := w.Truncate(0); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(blob); err != nil {
					t.Fatal(err)
				}
				file := ingestData(t, d, "default", "layer")
				if info, err := os.Stat(file); err != nil || info.Size() != desc.Size {
					t.Errorf("got %v and %v before the commit, want all bytes in the daemon's file", info, err)
				}
				if err := strike(file); err != nil {
					t.Fatal(err)
				}
				if status, err := w.Status(); err != nil || status.Offset != desc.Size || w.Digest() != desc.Digest {
					t.Errorf("got %+v, %v and digest %s, want that of the blob", status, err, w.Digest())
				}
				if err := w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(map[string]string{"a": "b"})); err != nil {
					t.Fatal(err)
				}
				got, err := content.ReadBlob(ctx, s.Content, desc)
				if err != nil || !bytes.Equal(got, blob) {
					t.Errorf("got %d bytes and %v from the store, want the blob", len(got), err)
				}
				if info, err := s.Content.Info(ctx, desc.Digest); err != nil || info.Labels["a"] != "b" {
					t.Errorf("got %+v and %v, want the label", info, err)
				}
				if in, err := s.Content.ListStatuses(ctx); len(in) > 0 || err != nil {
					t.Errorf("got ingests %+v and %v, want none", in, err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestInPlaceIsVerified lets the daemon find what does not belong into its file.
func TestInPlaceIsVerified(t *testing.T) {
	blob, desc := large()
	d := testdaemon.Start(t, testdaemon.Options{})
	s, ctx := shared(t, d)
	w, err := s.Content.Writer(ctx, content.WithRef("layer"), content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(blob); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(ingestData(t, d, "default", "layer"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("flipped"), 1<<20); err != nil {
		t.Fatal(err)
	}
	file.Close()
	if err := w.Commit(ctx, desc.Size, desc.Digest); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got %v, want the digest refused", err)
	}
	if _, err := s.Content.Info(ctx, desc.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("got %v of the blob, want none", err)
	}
}

// TestInPlaceResumes leaves an ingest half-way, which containerd's own writer
// goes on with.
func TestInPlaceResumes(t *testing.T) {
	blob, desc := large()
	s, ctx := shared(t, testdaemon.Start(t, testdaemon.Options{}))
	open := func() content.Writer {
		w, err := s.Content.Writer(ctx, content.WithRef("layer"), content.WithDescriptor(desc))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := open()
	if _, err := w.Write(blob[:2<<20]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content.Writer(ctx, content.WithRef("layer"), content.WithDescriptor(desc)); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v from a second writer, want the ingest locked", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = open()
	if status, err := w.Status(); err != nil || status.Offset != 2<<20 {
		t.Errorf("got %+v and %v, want what was written", status, err)
	}
	_, err := w.Write(blob[2<<20:])
	if err := errors.Join(err, w.Commit(ctx, desc.Size, desc.Digest)); err != nil {
		t.Error(err)
	}
}
