package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// stem is what the IDs of all leases of one reference begin with.
func stem(id string) string { return id[:strings.LastIndexByte(id, '-')+1] }

func TestLeaseNames(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	_, _, first := teststore.Lease(t, s, teststore.Ref)
	_, _, second := teststore.Lease(t, s, teststore.Ref)
	_, _, other := teststore.Lease(t, s, teststore.Ref+"r")
	if first == second || stem(first) != stem(second) {
		t.Errorf("got leases %s and %s of one reference, want two IDs with one beginning", first, second)
	}
	if stem(other) == stem(first) {
		t.Errorf("got lease %s of another reference, want another beginning than %s", other, stem(first))
	}
	s.Namespace = "another"
	if _, _, id := teststore.Lease(t, s, teststore.Ref); stem(id) == stem(first) {
		t.Errorf("got lease %s of another namespace, want another beginning than %s", id, stem(first))
	}
}

func TestLeaseIsLabelled(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	_, _, id := teststore.Lease(t, s, strings.Repeat("long/", 2000)+"name:tag")
	labels := teststore.Leases(t, s)[id].Labels
	if labels[store.LabelRef] == "" || labels[store.LabelOwner] == "" {
		t.Errorf("got labels %v, want a reference and an owner", labels)
	}
	expires, err := time.Parse(time.RFC3339, labels["containerd.io/gc.expire"])
	if left := time.Until(expires); err != nil || left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("got expiry in %s (%v), want a day", left, err)
	}
}

// TestLeaseAdoption finds out whose leases are taken over.
func TestLeaseAdoption(t *testing.T) {
	tests := []struct {
		name  string
		owner func(parts []string) // changes boot, PID namespace, PID, start time
		taken bool
	}{
		{"this process", func([]string) {}, false},
		{"an earlier process of this PID", func(o []string) { o[3] = "1" }, true},
		{"a PID that no process has", func(o []string) { o[2] = "999999999" }, true},
		{"no PID", func(o []string) { o[2] = "init" }, true},
		{"another PID namespace", func(o []string) { o[1] = "pid:[1]" }, false},
		{"another boot", func(o []string) { o[0] = "00000000-0000-0000-0000-000000000000" }, true},
		{"another boot and PID namespace", func(o []string) { o[0], o[1] = "x", "y" }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := teststore.Open(t, store.Options{})
			_, first, mine := teststore.Lease(t, s, teststore.Ref)
			parts := strings.Split(teststore.Leases(t, s)[mine].Labels[store.LabelOwner], "/")
			if len(parts) != 4 {
				t.Fatalf("got owner %q, want four parts", parts)
			}
			if err := first.Delete(s.Context(t.Context())); err != nil {
				t.Fatal(err)
			}
			tt.owner(parts)
			old := create(t, s, stem(mine)+"aaaaaaaa", strings.Join(parts, "/"))
			blob := teststore.Blob(leases.WithLease(s.Context(t.Context()), old), t, s, "held by the old lease")
			_, _, heir := teststore.Lease(t, s, teststore.Ref)
			if _, still := teststore.Leases(t, s)[old]; still == tt.taken {
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
	s := teststore.Open(t, store.Options{})
	ctx := s.Context(t.Context())
	_, first, id := teststore.Lease(t, s, teststore.Ref)
	if err := first.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	old, heir := create(t, s, stem(id)+"aaaaaaaa", ""), create(t, s, stem(id)+"bbbbbbbb", "x/y/1/1")
	moved := teststore.Blob(leases.WithLease(ctx, old), t, s, "moved already")
	left := teststore.Blob(leases.WithLease(ctx, old), t, s, "not moved yet")
	if err := s.Leases.AddResource(ctx, leases.Lease{ID: heir}, leases.Resource{ID: moved.String(), Type: "content"}); err != nil {
		t.Fatal(err)
	}
	_, l, now := teststore.Lease(t, s, teststore.Ref)
	if there := teststore.Leases(t, s); len(there) != 1 || !holds(t, s, now, moved.String()) || !holds(t, s, now, left.String()) {
		t.Errorf("got leases %v, want one that holds both blobs", there)
	}
	if err := l.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	if there := teststore.Leases(t, s); len(there) != 0 {
		t.Errorf("got leases %v in the end, want none", there)
	}
}

func create(t *testing.T, s *store.Store, id, owner string) string {
	t.Helper()
	labels := leases.WithLabels(map[string]string{store.LabelOwner: owner})
	lease, err := s.Leases.Create(s.Context(t.Context()), leases.WithID(id), labels)
	if err != nil {
		t.Fatal(err)
	}
	return lease.ID
}

func holds(t *testing.T, s *store.Store, lease, resource string) bool {
	t.Helper()
	got, err := s.Leases.ListResources(s.Context(t.Context()), leases.Lease{ID: lease})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got {
		if r.ID == resource {
			return true
		}
	}
	return false
}

// TestLeaseOfAnotherReference stays where it is.
func TestLeaseOfAnotherReference(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	_, l, id := teststore.Lease(t, s, "docker.io/library/debian:latest")
	ctx := s.Context(t.Context())
	if err := l.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	ids := []string{create(t, s, id, ""), create(t, s, "containerd-pull-foreign", ""), create(t, s, "foreign", "")}
	teststore.Lease(t, s, teststore.Ref)
	for _, id := range ids {
		if _, there := teststore.Leases(t, s)[id]; !there {
			t.Errorf("lease %s is gone, want it left alone", id)
		}
	}
}

// TestAdoptionRemovesUnfinishedSnapshots and keeps all else.
func TestAdoptionRemovesUnfinishedSnapshots(t *testing.T) {
	s := teststore.Open(t, store.Options{})
	ctx, l, id := teststore.Lease(t, s, teststore.Ref)
	for _, key := range []string{store.ActivePrefix + "1 sha256:x", "foreign"} {
		if _, err := s.Snapshotter.Prepare(ctx, key, ""); err != nil {
			t.Fatal(err)
		}
	}
	teststore.Ingest(ctx, t, s, "begun")
	if _, err := l.Suspend(s.Context(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, there := teststore.Leases(t, s)[id]; there {
		t.Errorf("got lease %s, want it handed on", id)
	}
	_, _, heir := teststore.Lease(t, s, teststore.Ref)
	if _, err := s.Snapshotter.Stat(ctx, store.ActivePrefix+"1 sha256:x"); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for the unfinished snapshot, want it gone", err)
	}
	if _, err := s.Snapshotter.Stat(ctx, "foreign"); err != nil {
		t.Errorf("got %v for a foreign snapshot, want it there", err)
	}
	if !holds(t, s, heir, "layer-"+digest.FromString("begun").String()) {
		t.Error("the ingest is not under the new lease")
	}
	if n := len(teststore.Leases(t, s)); n != 1 {
		t.Errorf("got %d leases, want one", n)
	}
}

// TestAdoptionOfSnapshotsOnTopOfOthers finds what a kill leaves of a trial: a snapshot
// that is committed, and one on top of it. Both go, whichever is listed first; where
// something else is on top, the lower stays under its lease, and the pull goes on.
func TestAdoptionOfSnapshotsOnTopOfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		lower, upper string
		stays        bool
	}{
		"the lower first": {store.ActivePrefix + "trial-a", store.ActivePrefix + "trial-a view", false},
		"the upper first": {store.ActivePrefix + "trial-b", store.ActivePrefix + "a view", false},
		"something else":  {store.ActivePrefix + "trial-c", "foreign", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := teststore.Open(t, store.Options{})
			_, first, id := teststore.Lease(t, s, teststore.Ref)
			ctx := s.Context(t.Context())
			if err := first.Delete(ctx); err != nil {
				t.Fatal(err)
			}
			old := create(t, s, stem(id)+"aaaaaaaa", "x/y/1/1")
			leased := leases.WithLease(ctx, old)
			_, err := s.Snapshotter.Prepare(leased, tt.lower+" active", "")
			err = errors.Join(err, s.Snapshotter.Commit(leased, tt.lower, tt.lower+" active"))
			_, failed := s.Snapshotter.View(leased, tt.upper, tt.lower)
			if err := errors.Join(err, failed); err != nil {
				t.Fatal(err)
			}
			blob := teststore.Blob(leased, t, s, "held by the old lease")
			_, _, heir := teststore.Lease(t, s, teststore.Ref)
			if !holds(t, s, heir, blob.String()) {
				t.Error("the blob is not under the new lease")
			}
			if _, there := teststore.Leases(t, s)[old]; there != tt.stays || there && !holds(t, s, old, tt.lower) {
				t.Errorf("got the old lease there: %v, want %v, with the lower snapshot", there, tt.stays)
			}
			for _, key := range []string{tt.lower, tt.upper} {
				if _, err := s.Snapshotter.Stat(ctx, key); errdefs.IsNotFound(err) == tt.stays {
					t.Errorf("got %v for snapshot %s, want it there: %v", err, key, tt.stays)
				}
			}
		})
	}
}

func TestSuspend(t *testing.T) {
	tests := []struct {
		name  string
		write func(ctx context.Context, t *testing.T, s *store.Store)
		want  int64
	}{
		{"nothing", func(context.Context, *testing.T, *store.Store) {}, 0},
		{"an empty ingest", func(ctx context.Context, t *testing.T, s *store.Store) { teststore.Ingest(ctx, t, s, "") }, 0},
		{"an ingest", func(ctx context.Context, t *testing.T, s *store.Store) { teststore.Ingest(ctx, t, s, "four") }, 4},
		{"both", func(ctx context.Context, t *testing.T, s *store.Store) {
			teststore.Ingest(ctx, t, s, "four")
			teststore.Blob(ctx, t, s, "twelve bytes")
		}, 16},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := teststore.Open(t, store.Options{})
			ctx, l, _ := teststore.Lease(t, s, teststore.Ref)
			tt.write(ctx, t, s)
			kept, err := l.Suspend(s.Context(t.Context()))
			if err != nil || kept != tt.want {
				t.Errorf("got %d bytes kept and %v, want %d", kept, err, tt.want)
			}
			left := teststore.Leases(t, s)
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
	s := teststore.Open(t, store.Options{})
	_, l, _ := teststore.Lease(t, s, teststore.Ref)
	for range 2 {
		if err := l.Delete(s.Context(t.Context())); err != nil {
			t.Errorf("got %v, want a lease that is gone to be no error", err)
		}
	}
}
