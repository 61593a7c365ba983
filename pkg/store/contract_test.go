package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestContract holds every backend to what a Store promises, whatever it stands
// on. Each case gets a root, or a namespace, of its own.
func TestContract(t *testing.T) {
	cases := map[string]func(*testing.T, *store.Store){
		"parts":       hasParts,
		"images":      keepsImages,
		"chains":      checksChains,
		"holding":     holdsSnapshots,
		"writers":     writesBlobs,
		"resuming":    resumesIngests,
		"writable":    isWritable,
		"lowers":      showsLowers,
		"leases":      movesLeases,
		"suspension":  suspends,
		"collecting":  collects,
		"strays":      collectsStrays,
		"gc":          deletesStaleLeases,
		"free space":  knowsItsSpace,
		"attachment":  attaches,
		"wrong sizes": findsMisfits,
		"giants":      readsNoGiants,
		"uses":        tellsUses,
	}
	for _, snapshotter := range []string{store.Overlayfs, store.Native} {
		t.Run("root/"+snapshotter, func(t *testing.T) {
			for name, test := range cases {
				t.Run(name, func(t *testing.T) { test(t, teststore.Open(t, store.Options{Snapshotter: snapshotter})) })
			}
		})
	}
	for _, version := range testdaemon.Versions() {
		t.Run("daemon/"+version, func(t *testing.T) {
			if testing.Short() {
				t.Skip("with -short no daemon is started")
			}
			t.Parallel()
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			for name, test := range cases {
				t.Run(name, func(t *testing.T) {
					test(t, teststore.Dial(t, store.Options{Address: d.Address, Namespace: strings.ReplaceAll(name, " ", "-")}))
				})
			}
		})
	}
}

func hasParts(t *testing.T, s *store.Store) {
	empty := store.Parts{Content: s.Content, Images: s.Images, Leases: s.Leases, Snapshotter: s.Snapshotter, Applier: s.Applier, Hasher: s.Hasher}
	if s.Content == nil || s.Images == nil || s.Leases == nil || s.Snapshotter == nil || s.Applier == nil || s.Hasher == nil {
		t.Errorf("got parts %+v, want all of them", empty)
	}
	if s.Namespace == "" || s.Name == "" || !s.Traits().Applies || !s.MakesOfBlobs() {
		t.Errorf("got namespace %q, snapshotter %q and traits %+v", s.Namespace, s.Name, s.Traits())
	}
	syncs, err := s.SyncsApplied(t.Context())
	if able := s.CanTransfer(t.Context()) == nil; err != nil || able && !syncs {
		t.Errorf("got %v and %v: a daemon that can transfer is of 2.0 and can sync", syncs, err)
	}
	if err := s.CanTransfer(t.Context()); err != nil && !errors.Is(err, store.ErrNoTransfer) {
		t.Errorf("got %v, want %v or nothing", err, store.ErrNoTransfer)
	}
	if err := s.Flush(); err != nil {
		t.Errorf("flushing: %v", err)
	}
}

func keepsImages(t *testing.T, s *store.Store) {
	ctx := s.Context(t.Context())
	if img, err := s.Image(ctx, teststore.Ref); img != nil || err != nil {
		t.Errorf("got %v and %v before, want none", img, err)
	}
	first := teststore.Image(teststore.Ref, "one", map[string]string{"own": "1", "kept": "1"})
	if err := s.Register(ctx, first); err != nil {
		t.Fatal(err)
	}
	foreign := teststore.Image(teststore.Ref, "one", map[string]string{"foreign": "x"})
	if _, err := s.Images.Update(ctx, foreign, "labels.foreign"); err != nil {
		t.Fatal(err)
	}
	before, err := s.Image(ctx, teststore.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Register(ctx, teststore.Image(teststore.Ref, "two", map[string]string{"own": "2"})); err != nil {
		t.Fatal(err)
	}
	img, err := s.Image(ctx, teststore.Ref)
	if err != nil || img == nil || img.Target.Digest != digest.FromString("two") {
		t.Fatalf("got %+v and %v, want the second target", img, err)
	}
	if diff := cmp.Diff(map[string]string{"own": "2", "kept": "1", "foreign": "x"}, img.Labels); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
	if err := s.Restore(ctx, teststore.Ref, before); err != nil {
		t.Fatal(err)
	}
	img, err = s.Image(ctx, teststore.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, img, cmpopts.IgnoreFields(*before, "UpdatedAt")); diff != "" {
		t.Errorf("the restored record differs (-before +now):\n%s", diff)
	}
	for range 2 { // the second time there is nothing to remove
		if err := s.Restore(ctx, teststore.Ref, nil); err != nil {
			t.Error(err)
		}
	}
	if img, err := s.Image(ctx, teststore.Ref); img != nil || err != nil {
		t.Errorf("got %v and %v after all, want none", img, err)
	}
}

func checksChains(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	chain := identity.ChainIDs([]digest.Digest{digest.FromString("a"), digest.FromString("b"), digest.FromString("c")})
	teststore.Commit(ctx, t, s, chain[0].String(), "")
	teststore.Commit(ctx, t, s, chain[1].String(), chain[0].String())
	found, err := s.Survey(ctx, store.Wanted{Chains: [][]digest.Digest{chain}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false} {
		if got := found.Snapshots[chain[i]]; got.IsThere() != want {
			t.Errorf("got %+v of snapshot %d, want it there: %v", got, i, want)
		}
	}
	teststore.Commit(ctx, t, s, chain[2].String(), chain[0].String())
	if _, err := s.Survey(ctx, store.Wanted{Chains: [][]digest.Digest{chain}}); !errdefs.IsDataLoss(err) {
		t.Errorf("got %v for a snapshot on another parent, want data loss", err)
	}
}

func holdsSnapshots(t *testing.T, s *store.Store) {
	ctx, _, id := teststore.Lease(t, s, teststore.Ref)
	_, _, other := teststore.Lease(t, s, "other")
	teststore.Commit(leases.WithLease(ctx, other), t, s, "there", "")
	teststore.Prepare(ctx, t, s, "active", "")
	for name, want := range map[string]bool{"there": true, "active": false, "absent": false} {
		held, err := s.Hold(ctx, name)
		if held != want || err != nil {
			t.Errorf("got %v and %v for %q, want %v", held, err, name, want)
		}
	}
	if !holds(t, s, id, "there") {
		t.Error("the snapshot is not under the lease")
	}
	if held, err := s.Hold(s.Context(t.Context()), "there"); !held || err != nil {
		t.Errorf("got %v and %v without a lease, want true", held, err)
	}
}

func described(text string) (ref content.WriterOpt, desc ocispec.Descriptor) {
	desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(text), Size: int64(len(text))}
	return content.WithRef(teststore.IngestRef(desc.Digest)), desc
}

func writesBlobs(t *testing.T, s *store.Store) {
	ctx, _, id := teststore.Lease(t, s, teststore.Ref)
	text := "a blob of " + t.Name()
	ref, desc := described(text)
	w, err := s.Content.Writer(ctx, ref, content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content.Writer(ctx, ref, content.WithDescriptor(desc)); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v from a second writer, want the ingest locked", err)
	}
	if _, err := io.WriteString(w, "something else"); err != nil {
		t.Fatal(err)
	}
	if err := w.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if status, err := w.Status(); err != nil || status.Offset != desc.Size || w.Digest() != desc.Digest {
		t.Errorf("got %+v, %v and %s, want the whole blob", status, err, w.Digest())
	}
	if err := w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(map[string]string{"a": "b"})); err != nil {
		t.Fatal(err)
	}
	if got, err := content.ReadBlob(ctx, s.Content, desc); err != nil || string(got) != text {
		t.Errorf("got %q and %v from the store, want %q", got, err, text)
	}
	if info, err := s.Content.Info(ctx, desc.Digest); err != nil || info.Labels["a"] != "b" || info.Size != desc.Size {
		t.Errorf("got %+v and %v, want the label and the size", info, err)
	}
	if _, err := s.Content.Writer(ctx, ref, content.WithDescriptor(desc)); !errdefs.IsAlreadyExists(err) {
		t.Errorf("got %v for a blob that is there, want it to exist already", err)
	}
	if !holds(t, s, id, desc.Digest.String()) {
		t.Error("the blob is not under the lease")
	}
	refusesWrongBlobs(ctx, t, s)
}

func refusesWrongBlobs(ctx context.Context, t *testing.T, s *store.Store) {
	t.Helper()
	for name, damage := range map[string]func(*ocispec.Descriptor){
		"digest": func(d *ocispec.Descriptor) { d.Digest = digest.FromString("another") },
		"size":   func(d *ocispec.Descriptor) { d.Size++ },
	} {
		text := "wrong " + name
		ref, desc := described(text)
		w, err := s.Content.Writer(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		damage(&desc)
		if err := w.Commit(ctx, desc.Size, desc.Digest); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("wrong %s: got %v, want it refused", name, err)
		}
		if _, err := s.Content.Info(ctx, digest.FromString(text)); !errdefs.IsNotFound(err) {
			t.Errorf("wrong %s: got %v of the blob, want none", name, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func resumesIngests(t *testing.T, s *store.Store) {
	ctx, _, id := teststore.Lease(t, s, teststore.Ref)
	text := strings.Repeat("half ", 1000)
	ref, desc := described(text)
	w, err := s.Content.Writer(ctx, ref, content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text[:2500]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	in, err := s.Content.ListStatuses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(in) != 1 || in[0].Offset != 2500 || in[0].Total != desc.Size {
		t.Errorf("got ingests %+v, want one with half of the blob", in)
	}
	if !holds(t, s, id, teststore.IngestRef(desc.Digest)) {
		t.Error("the ingest is not under the lease")
	}
	w, err = s.Content.Writer(ctx, ref, content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if status, err := w.Status(); err != nil || status.Offset != 2500 {
		t.Fatalf("got %+v and %v, want to go on in the middle", status, err)
	}
	if _, err := io.WriteString(w, text[2500:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(ctx, desc.Size, desc.Digest); err != nil {
		t.Error(err)
	}
	in, err = s.Content.ListStatuses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(in) != 0 {
		t.Errorf("got ingests %+v in the end, want none", in)
	}
}

// isWritable writes a file past the store, and finds it in the snapshot.
func isWritable(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	mounts, err := s.Snapshotter.Prepare(ctx, "extract-1", "")
	if err != nil {
		t.Fatal(err)
	}
	if ok, why := s.Writable(); !ok {
		t.Fatalf("got %q, want the snapshots writable", why)
	}
	for range 2 { // the second answer is remembered
		upper, why := s.Upper(ctx, "extract-1", mounts)
		if upper == nil || upper.Dir == nil || why == "" {
			t.Fatalf("got %+v because %q, want the snapshot open", upper, why)
		}
		left, err := upper.Dir.Readdirnames(-1)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) != 0 {
			t.Errorf("got %v left by the proof, want nothing", left)
		}
		upper.Close()
	}
	if err := os.WriteFile(filepath.Join(mounts[0].Source, "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshotter.Commit(ctx, "layer", "extract-1"); err != nil {
		t.Fatal(err)
	}
	dirs, err := s.Lowers(ctx, "layer")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dirs[0].Name(), "file")); err != nil || !bytes.Equal(got, []byte("text")) {
		t.Errorf("got %q and %v in the committed snapshot, want the file", got, err)
	}
}

func showsLowers(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	teststore.Commit(ctx, t, s, "one", "")
	teststore.Commit(ctx, t, s, "two", "one")
	want := map[string]int{"one": 1, "two": 2}
	if s.Name == store.Native { // whose snapshots are whole copies
		want["two"] = 1
	}
	for _, c := range []context.Context{ctx, s.Context(t.Context())} { // under a lease, and without one
		for name, n := range want {
			if dirs, err := s.Lowers(c, name); err != nil || len(dirs) != n {
				t.Errorf("got %v and %v below %s, want %d folders", dirs, err, name, n)
			}
		}
	}
	if _, err := s.Lowers(ctx, "absent"); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for a snapshot that is not there, want not found", err)
	}
	err := s.Snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			t.Errorf("got %s snapshot %s, want none left", info.Kind, info.Name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n := len(teststore.Leases(t, s)); n != 1 {
		t.Errorf("got %d leases, want that of the test alone", n)
	}
}

// movesLeases lets a pull take over what one that died has left.
func movesLeases(t *testing.T, s *store.Store) {
	ctx, l, first := teststore.Lease(t, s, teststore.Ref)
	blob := teststore.Blob(ctx, t, s, "held by the first")
	teststore.Commit(ctx, t, s, "layer", "")
	teststore.Prepare(ctx, t, s, store.ActivePrefix+"1 layer", "")
	orphans, err := s.Orphans(ctx, teststore.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if len(orphans) != 0 {
		t.Errorf("got orphans %v of a pull that runs, want none", orphans)
	}
	l.Abandon()
	orphans, err = s.Orphans(ctx, teststore.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if len(orphans) != 1 || orphans[0].ID != first {
		t.Errorf("got orphans %v, want the abandoned lease", orphans)
	}
	ctx, heir, second := teststore.Lease(t, s, teststore.Ref)
	if there := teststore.Leases(t, s); len(there) != 1 || there[second].ID == "" {
		t.Errorf("got leases %v, want the second alone", there)
	}
	if !holds(t, s, second, blob.String()) || !holds(t, s, second, "layer") {
		t.Error("the blob and the snapshot are not under the second lease")
	}
	if _, err := s.Snapshotter.Stat(ctx, store.ActivePrefix+"1 layer"); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for the unfinished snapshot, want it gone", err)
	}
	for range 2 { // one that is gone is no error
		if err := heir.Delete(s.Context(t.Context())); err != nil {
			t.Error(err)
		}
	}
	if there := teststore.Leases(t, s); len(there) != 0 {
		t.Errorf("got leases %v in the end, want none", there)
	}
}

func suspends(t *testing.T, s *store.Store) {
	for _, tt := range []struct {
		ref, blob, ingest string
		want              int64
	}{{"nothing", "", "", 0}, {"an ingest", "", "four", 4}, {"both", "twelve bytes", "four more", 21}} {
		ctx, l, _ := teststore.Lease(t, s, tt.ref)
		teststore.Commit(ctx, t, s, "layer of "+tt.ref, "") // snapshots are not counted
		if tt.blob != "" {
			teststore.Blob(ctx, t, s, tt.blob)
		}
		if tt.ingest != "" {
			teststore.Ingest(ctx, t, s, tt.ingest)
		}
		if kept, err := l.Suspend(s.Context(t.Context())); err != nil || kept != tt.want {
			t.Errorf("%s: got %d bytes kept and %v, want %d", tt.ref, kept, err, tt.want)
		}
		orphans, err := s.Orphans(s.Context(t.Context()), tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(tt.want, 1); int64(len(orphans)) != want {
			t.Errorf("%s: got orphans %v, want %d", tt.ref, orphans, want)
		}
		for _, o := range orphans {
			if o.Labels[store.LabelOwner] != "" || o.Labels["containerd.io/gc.expire"] == "" {
				t.Errorf("%s: got labels %v, want no owner and an expiry", tt.ref, o.Labels)
			}
		}
	}
}

// collects what nothing refers to, and nothing else.
func collects(t *testing.T, s *store.Store) {
	ctx, l, _ := teststore.Lease(t, s, teststore.Ref)
	held := teststore.Blob(ctx, t, s, "held until the lease ends")
	teststore.Commit(ctx, t, s, "layer", "")
	there := func(want bool) {
		t.Helper()
		_, err := s.Content.Info(ctx, held)
		if layer, serr := s.Has(ctx, "layer"); (err == nil) != want || layer != want || serr != nil {
			t.Errorf("got %v for the blob, %v and %v for the snapshot, want them there: %v", err, layer, serr, want)
		}
	}
	if err := errors.Join(s.Collect(t.Context(), store.Garbage), s.Collect(t.Context(), store.GarbageNow)); err != nil {
		t.Fatal(err)
	}
	there(true)
	if err := errors.Join(l.Delete(s.Context(t.Context())), s.Collect(t.Context(), store.GarbageNow)); err != nil {
		t.Fatal(err)
	}
	there(false)
	if left := teststore.Leases(t, s); len(left) != 0 {
		t.Errorf("got leases %v, want none left by the collection", left)
	}
}

// collectsStrays removes a file that lies where a blob would.
func collectsStrays(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	kept := teststore.Blob(ctx, t, s, "not a stray")
	dir := filepath.Join(contentFolder(t, s), "blobs", "sha256")
	stray := filepath.Join(dir, digest.FromString(t.Name()).Encoded())
	if err := os.WriteFile(stray, []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Collect(t.Context(), store.Strays); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stray); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the stray, want it gone", err)
	}
	if _, err := os.Stat(filepath.Join(dir, kept.Encoded())); err != nil {
		t.Errorf("got %v for a blob under a lease, want it there", err)
	}
}

func contentFolder(t *testing.T, s *store.Store) string {
	t.Helper()
	free := s.FreeSpace(s.Context(t.Context()))
	if free.Content == nil {
		t.Fatalf("got %+v, want the content folder known", free)
	}
	return free.Content.Path
}

// deletesStaleLeases foretells what will go, and then lets just that go.
func deletesStaleLeases(t *testing.T, s *store.Store) {
	ctx := s.Context(t.Context())
	dead, err := s.Leases.Create(ctx, leases.WithID(store.LeasePrefix+"dead"), leases.WithLabels(map[string]string{store.LabelRef: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	under := leases.WithLease(ctx, dead.ID)
	lost := teststore.Blob(under, t, s, "only the dead pull had it")
	teststore.Ingest(under, t, s, "begun by the dead pull")
	teststore.Commit(under, t, s, "lower", "")
	teststore.Prepare(under, t, s, "extract-1", "lower")
	both := teststore.Blob(under, t, s, "another pull has it as well")
	running, _, id := teststore.Lease(t, s, teststore.Ref)
	if err := s.Leases.AddResource(running, leases.Lease{ID: id}, leases.Resource{ID: both.String(), Type: store.ResourceContent}); err != nil {
		t.Fatal(err)
	}
	foretold, err := s.GC(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content.Info(ctx, lost); err != nil || len(teststore.Leases(t, s)) != 2 {
		t.Errorf("got %v after a dry run, want everything as it was", err)
	}
	freed, err := s.GC(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(foretold, freed); diff != "" {
		t.Errorf("what went is not what was foretold (-foretold +freed):\n%s", diff)
	}
	want := store.Freed{
		Leases: []string{dead.ID}, Blobs: store.Sum{Count: 1, Bytes: 25}, Ingests: store.Sum{Count: 1, Bytes: 22},
		Snapshots: store.Sum{Count: 2, Bytes: freed.Snapshots.Bytes}, Running: 1,
	}
	if diff := cmp.Diff(want, freed); diff != "" {
		t.Errorf("freed (-want +got):\n%s", diff)
	}
	if _, err := s.Content.Info(ctx, lost); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for the blob of the dead pull, want it gone", err)
	}
	if _, err := s.Content.Info(ctx, both); err != nil {
		t.Errorf("got %v for the blob of both, want it there", err)
	}
}

func knowsItsSpace(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	dgst := teststore.Blob(ctx, t, s, "takes some space")
	free := s.FreeSpace(ctx)
	for name, space := range map[string]*store.Space{"content": free.Content, "snapshots": free.Snapshots} {
		if space == nil || space.Bytes <= 0 || space.ReadOnly || !filepath.IsAbs(space.Path) {
			t.Errorf("got %+v for the %s, want a folder with space", space, name)
		}
	}
	if free.Lazy {
		t.Errorf("got %s lazy", s.Name)
	}
	if !free.Holds(dgst) || free.Holds(digest.FromString("absent")) {
		t.Error("the free space does not know which blob is there")
	}
}

// findsMisfits looks at a file of another size in the place of a blob.
func findsMisfits(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	text := "whole in " + t.Name()
	desc := ocispec.Descriptor{Digest: teststore.Blob(ctx, t, s, text), Size: int64(len(text))}
	if s.FreeSpace(ctx).Misfits(desc) {
		t.Error("got a whole blob as one of another size")
	}
	path := filepath.Join(contentFolder(t, s), "blobs", "sha256", desc.Digest.Encoded())
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	if !s.FreeSpace(ctx).Misfits(desc) {
		t.Error("got a file that was cut as the blob")
	}
	if (store.FreeSpace{}).Misfits(desc) || (store.FreeSpace{}).Holds(desc.Digest) {
		t.Error("a folder that is not known has blobs")
	}
}

// readsNoGiants has the file of a document grow to a terabyte of nothing, as in a
// root that was made elsewhere (security rule 7).
func readsNoGiants(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	text := "a document in " + t.Name()
	desc := ocispec.Descriptor{Digest: teststore.Blob(ctx, t, s, text), Size: int64(len(text))}
	if body, err := s.Document(ctx, desc); err != nil || string(body) != text {
		t.Fatalf("got %q, %v, want %q", body, err, text)
	}
	path := filepath.Join(contentFolder(t, s), "blobs", "sha256", desc.Digest.Encoded())
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	desc.Size = 1 << 40 // as a record of that root may say
	// A daemon reads as many bytes as its record says.
	if body, err := s.Document(ctx, desc); !errdefs.IsDataLoss(err) && (err != nil || string(body) != text) {
		t.Errorf("got %d bytes, %v, want data loss or what was written", len(body), err)
	}
}

func attaches(t *testing.T, s *store.Store) {
	type key struct{}
	ctx, end, err := s.Attach(context.WithValue(s.Context(t.Context()), key{}, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Disconnected(ctx) || s.Disconnected(t.Context()) {
		t.Error("got a backend that answers disconnected")
	}
	if _, err := s.Images.List(ctx); err != nil || fmt.Sprint(ctx.Value(key{})) != "x" {
		t.Errorf("got %v in an attached context", err)
	}
	end()
	if s.Disconnected(ctx) {
		t.Error("got a backend disconnected because the work has ended")
	}
}

// tellsUses of images by their names, and by what stands on their snapshots.
func tellsUses(t *testing.T, s *store.Store) {
	ctx, _, _ := teststore.Lease(t, s, teststore.Ref)
	record := func(name, snapshotter string) images.Image {
		keeps := func(dgst digest.Digest, key, value string) {
			if _, err := s.Content.Update(ctx, content.Info{Digest: dgst, Labels: map[string]string{key: value}}, "labels."+key); err != nil {
				t.Fatal(err)
			}
		}
		config, manifest := teststore.Blob(ctx, t, s, name+" config"), teststore.Blob(ctx, t, s, name)
		keeps(config, image.LabelSnapshot+snapshotter, name)
		keeps(manifest, image.LabelConfig, config.String())
		return teststore.Image(name, name, nil)
	}
	create := func(c containers.Container) {
		c.Runtime.Name, c.Spec = "io.containerd.runc.v2", &anypb.Any{TypeUrl: "spec", Value: []byte("{}")}
		if _, err := s.Containers.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	for _, pair := range []string{"base", "derived base", "volume", "moved", "remapped moved", "idle"} {
		name, parent, _ := strings.Cut(pair, " ")
		teststore.Commit(ctx, t, s, name, parent)
	}
	teststore.Prepare(ctx, t, s, "rw", "derived")
	teststore.Prepare(ctx, t, s, "user", "remapped")
	if _, err := s.Snapshotter.View(ctx, "shown", "volume"); err != nil {
		t.Fatal(err)
	}
	create(containers.Container{ID: "nameless", Snapshotter: s.Name, SnapshotKey: "rw"})
	create(containers.Container{ID: "elder", Image: "tag", Snapshotter: s.Name, SnapshotKey: "user"})
	create(containers.Container{ID: "far", Image: "gone", Snapshotter: "elsewhere", SnapshotKey: "x"})
	want := map[string]string{
		"derived": "container nameless uses it",
		"volume":  "snapshot shown of " + s.Name + " is on top of it",
		"moved":   "container elder uses it",
		"distant": "container far may use it, and its snapshotter elsewhere cannot be looked at",
		"tag":     "container elder uses it",
		"base":    "", "idle": "", "unknown": "",
	}
	all := []images.Image{teststore.Image("tag", "new", nil), teststore.Image("unknown", "old", nil), record("distant", "elsewhere")}
	for _, name := range []string{"base", "derived", "volume", "moved", "idle"} {
		all = append(all, record(name, s.Name))
	}
	uses, err := s.Uses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, img := range all {
		got[img.Name] = uses.Of(img)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("uses differ (-want +got):\n%s", diff)
	}
}
