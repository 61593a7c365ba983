package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

const ref = "docker.io/library/alpine:latest"

// openRoot opens an embedded root of its own.
func openRoot(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	s := pulltest.Must(store.Open(t.Context(), o))(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// lease opens a lease and returns its ID with the context that carries it.
func lease(t *testing.T, s *store.Store, name string) (context.Context, *store.Lease, string) {
	t.Helper()
	ctx, l, err := s.Lease(s.Context(t.Context()), name)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := leases.FromContext(ctx)
	return ctx, l, id
}

// all lists the leases by ID.
func all(t *testing.T, s *store.Store) map[string]leases.Lease {
	t.Helper()
	byID := map[string]leases.Lease{}
	for _, l := range pulltest.Must(s.Leases.List(s.Context(t.Context())))(t) {
		byID[l.ID] = l
	}
	return byID
}

// stem is what the IDs of all leases of one reference begin with.
func stem(id string) string { return id[:strings.LastIndexByte(id, '-')+1] }

// write puts a blob, or the first bytes of one, into the content store.
func write(ctx context.Context, t *testing.T, s *store.Store, text string, whole bool) digest.Digest {
	t.Helper()
	desc := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	w := pulltest.Must(content.OpenWriter(ctx, s.Content, content.WithRef("layer-"+desc.Digest.String()), content.WithDescriptor(desc)))(t)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if whole {
		if err := w.Commit(ctx, desc.Size, desc.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return desc.Digest
}

func TestLeaseNames(t *testing.T) {
	s := openRoot(t, store.Options{})
	_, _, first := lease(t, s, ref)
	_, _, second := lease(t, s, ref)
	_, _, other := lease(t, s, ref+"r")
	if first == second || stem(first) != stem(second) {
		t.Errorf("got leases %s and %s of one reference, want two IDs with one beginning", first, second)
	}
	if stem(other) == stem(first) {
		t.Errorf("got lease %s of another reference, want another beginning than %s", other, stem(first))
	}
	s.Namespace = "another"
	if _, _, id := lease(t, s, ref); stem(id) == stem(first) {
		t.Errorf("got lease %s of another namespace, want another beginning than %s", id, stem(first))
	}
}

func TestLeaseIsLabelled(t *testing.T) {
	s := openRoot(t, store.Options{})
	_, _, id := lease(t, s, strings.Repeat("long/", 2000)+"name:tag")
	labels := all(t, s)[id].Labels
	if labels[store.LabelRef] == "" || labels[store.LabelOwner] == "" {
		t.Errorf("got labels %v, want a reference and an owner", labels)
	}
	expires, err := time.Parse(time.RFC3339, labels["containerd.io/gc.expire"])
	if left := time.Until(expires); err != nil || left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("got expiry in %s (%v), want a day", left, err)
	}
}

// TestLeaseAdoption asks whose leases are taken over.
func TestLeaseAdoption(t *testing.T) {
	tests := []struct {
		name  string
		owner func(parts []string) // changes boot, PID namespace, PID, start time
		taken bool
	}{
		{"this process", func([]string) {}, false},
		{"an earlier process of this PID", func(o []string) { o[3] = "1" }, true},
		{"a PID that nobody has", func(o []string) { o[2] = "999999999" }, true},
		{"no PID", func(o []string) { o[2] = "init" }, true},
		{"another PID namespace", func(o []string) { o[1] = "pid:[1]" }, false},
		{"another boot", func(o []string) { o[0] = "00000000-0000-0000-0000-000000000000" }, true},
		{"another boot and PID namespace", func(o []string) { o[0], o[1] = "x", "y" }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openRoot(t, store.Options{})
			_, first, mine := lease(t, s, ref)
			parts := strings.Split(all(t, s)[mine].Labels[store.LabelOwner], "/")
			if len(parts) != 4 {
				t.Fatalf("got owner %q, want four parts", parts)
			}
			if err := first.Delete(s.Context(t.Context())); err != nil {
				t.Fatal(err)
			}
			tt.owner(parts)
			old := create(t, s, stem(mine)+"aaaaaaaa", strings.Join(parts, "/"))
			blob := write(leases.WithLease(s.Context(t.Context()), old), t, s, "held by the old lease", true)
			_, _, heir := lease(t, s, ref)
			if _, still := all(t, s)[old]; still == tt.taken {
				t.Errorf("got old lease there: %v, want taken over: %v", still, tt.taken)
			}
			if held := holds(t, s, heir, blob.String()); held != tt.taken {
				t.Errorf("got the blob under the new lease: %v, want %v", held, tt.taken)
			}
		})
	}
}

// TestLeasesOfACutHandOver finds the two leases that a kill leaves in the middle
// of a hand-over, one of them with a part of what the other holds. There is one
// afterwards with everything, and none in the end.
func TestLeasesOfACutHandOver(t *testing.T) {
	s := openRoot(t, store.Options{})
	ctx := s.Context(t.Context())
	_, first, id := lease(t, s, ref)
	if err := first.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	old, heir := create(t, s, stem(id)+"aaaaaaaa", ""), create(t, s, stem(id)+"bbbbbbbb", "x/y/1/1")
	moved := write(leases.WithLease(ctx, old), t, s, "moved already", true)
	left := write(leases.WithLease(ctx, old), t, s, "not moved yet", true)
	if err := s.Leases.AddResource(ctx, leases.Lease{ID: heir}, leases.Resource{ID: moved.String(), Type: "content"}); err != nil {
		t.Fatal(err)
	}
	_, l, now := lease(t, s, ref)
	if there := all(t, s); len(there) != 1 || !holds(t, s, now, moved.String()) || !holds(t, s, now, left.String()) {
		t.Errorf("got leases %v, want one that holds both blobs", there)
	}
	if err := l.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	if there := all(t, s); len(there) != 0 {
		t.Errorf("got leases %v in the end, want none", there)
	}
}

func create(t *testing.T, s *store.Store, id, owner string) string {
	t.Helper()
	labels := leases.WithLabels(map[string]string{store.LabelOwner: owner})
	return pulltest.Must(s.Leases.Create(s.Context(t.Context()), leases.WithID(id), labels))(t).ID
}

func holds(t *testing.T, s *store.Store, lease, resource string) bool {
	t.Helper()
	for _, r := range pulltest.Must(s.Leases.ListResources(s.Context(t.Context()), leases.Lease{ID: lease}))(t) {
		if r.ID == resource {
			return true
		}
	}
	return false
}

// TestLeaseOfAnotherReference is nobody else's to take.
func TestLeaseOfAnotherReference(t *testing.T) {
	s := openRoot(t, store.Options{})
	_, l, id := lease(t, s, "docker.io/library/debian:latest")
	ctx := s.Context(t.Context())
	if err := l.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	ids := []string{create(t, s, id, ""), create(t, s, "containerd-pull-foreign", ""), create(t, s, "somebody", "")}
	lease(t, s, ref)
	for _, id := range ids {
		if _, there := all(t, s)[id]; !there {
			t.Errorf("lease %s is gone, want it left alone", id)
		}
	}
}

// TestAdoptionRemovesUnfinishedSnapshots and keeps all else.
func TestAdoptionRemovesUnfinishedSnapshots(t *testing.T) {
	s := openRoot(t, store.Options{})
	ctx, l, id := lease(t, s, ref)
	for _, key := range []string{store.ActivePrefix + "1 sha256:x", "somebody's"} {
		if _, err := s.Snapshotter.Prepare(ctx, key, ""); err != nil {
			t.Fatal(err)
		}
	}
	write(ctx, t, s, "begun", false)
	if _, err := l.Suspend(s.Context(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, there := all(t, s)[id]; there {
		t.Errorf("got lease %s, want it handed on", id)
	}
	_, _, heir := lease(t, s, ref)
	if _, err := s.Snapshotter.Stat(ctx, store.ActivePrefix+"1 sha256:x"); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for the unfinished snapshot, want it gone", err)
	}
	if _, err := s.Snapshotter.Stat(ctx, "somebody's"); err != nil {
		t.Errorf("got %v for a snapshot that is not ours, want it there", err)
	}
	if !holds(t, s, heir, "layer-"+digest.FromString("begun").String()) {
		t.Error("the ingest is not under the new lease")
	}
	if n := len(all(t, s)); n != 1 {
		t.Errorf("got %d leases, want one", n)
	}
}

func TestSuspend(t *testing.T) {
	tests := []struct {
		name  string
		write func(ctx context.Context, t *testing.T, s *store.Store)
		want  int64
	}{
		{"nothing", func(context.Context, *testing.T, *store.Store) {}, 0},
		{"an empty ingest", func(ctx context.Context, t *testing.T, s *store.Store) { write(ctx, t, s, "", false) }, 0},
		{"an ingest", func(ctx context.Context, t *testing.T, s *store.Store) { write(ctx, t, s, "four", false) }, 4},
		{"both", func(ctx context.Context, t *testing.T, s *store.Store) {
			write(ctx, t, s, "four", false)
			write(ctx, t, s, "twelve bytes", true)
		}, 16},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openRoot(t, store.Options{})
			ctx, l, _ := lease(t, s, ref)
			tt.write(ctx, t, s)
			kept, err := l.Suspend(s.Context(t.Context()))
			if err != nil || kept != tt.want {
				t.Errorf("got %d bytes kept and %v, want %d", kept, err, tt.want)
			}
			left := all(t, s)
			if want := min(tt.want, 1); int64(len(left)) != want {
				t.Errorf("got leases %+v, want %d", left, want)
			}
			for _, l := range left {
				if l.Labels[store.LabelOwner] != "" || l.Labels["containerd.io/gc.expire"] == "" {
					t.Errorf("got labels %v, want no owner and an expiry", l.Labels)
				}
			}
		})
	}
}

func TestDeletedLeaseMayBeGone(t *testing.T) {
	s := openRoot(t, store.Options{})
	_, l, _ := lease(t, s, ref)
	for range 2 {
		if err := l.Delete(s.Context(t.Context())); err != nil {
			t.Errorf("got %v, want a lease that is gone to be no error", err)
		}
	}
}
