package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

const (
	// LabelRef and LabelOwner mark a lease as that of a pull: what is pulled,
	// and the process that pulls it (see owner), which is empty if there is none.
	LabelRef   = "containerd-pull.io/ref"
	LabelOwner = "containerd-pull.io/owner"
	// LabelName is the reference itself, where it is short enough: for those who
	// look at the lease.
	LabelName = "containerd-pull.io/name"

	LeasePrefix = "containerd-pull-"
	labelExpire = "containerd.io/gc.expire"
	leaseLife   = 24 * time.Hour

	ResourceIngest   = "ingests"
	ResourceContent  = "content"
	ResourceSnapshot = "snapshots/"

	// ActivePrefix begins the key of every snapshot that is being unpacked, as
	// in containerd's own unpacker.
	ActivePrefix = "extract-"
	// viewPrefix begins the key of the views that show the folders of snapshots.
	viewPrefix = "view-"
)

// Lease keeps what a pull writes from being collected until an image record
// refers to it.
type Lease struct {
	store *Store
	ref   string
	lease leases.Lease
}

// Lease opens a lease for the pull of ref. What an interrupted pull of the same
// reference left under its lease moves to the new one, and the old lease goes.
// The returned context carries the lease.
func (s *Store) Lease(ctx context.Context, ref string) (context.Context, *Lease, error) {
	l, err := s.newLease(ctx, ref, owner())
	if err != nil {
		return ctx, nil, err
	}
	if err := l.adopt(ctx); err != nil {
		return ctx, nil, errors.Join(err, l.delete(ctx))
	}
	return leases.WithLease(ctx, l.lease.ID), l, nil
}

// newLease creates a lease whose ID begins with what follows from namespace and
// reference, so that it can be found again.
func (s *Store) newLease(ctx context.Context, ref, owner string) (*Lease, error) {
	set := map[string]string{
		LabelRef:    digest.FromString(ref).String(), // a reference may be longer than a label
		LabelOwner:  owner,
		labelExpire: time.Now().UTC().Add(leaseLife).Format(time.RFC3339),
	}
	if labels.Validate(LabelName, ref) == nil {
		set[LabelName] = ref
	}
	lease, err := s.Leases.Create(ctx,
		leases.WithID(leaseStem(s.Namespace, ref)+strings.ToLower(rand.Text()[:8])),
		leases.WithLabels(set))
	if err != nil {
		return nil, fmt.Errorf("creating a lease: %w", err)
	}
	return &Lease{store: s, ref: ref, lease: lease}, nil
}

func leaseStem(ns, ref string) string {
	return LeasePrefix + digest.FromString(ns + "\x00" + ref).Encoded()[:12] + "-"
}

// adopt takes over the leases of dead pulls of the same reference, and those
// that pulls of this process had to abandon.
func (l *Lease) adopt(ctx context.Context) error {
	orphans, err := l.store.Orphans(ctx, l.ref)
	if err != nil {
		return err
	}
	for _, old := range orphans {
		if old.ID == l.lease.ID {
			continue
		}
		if err := l.take(ctx, old); err != nil {
			return fmt.Errorf("taking over lease %s: %w", old.ID, err)
		}
	}
	return nil
}

// Orphans lists the leases left behind by pulls of ref that died without cleaning
// up. The next Lease adopts them.
func (s *Store) Orphans(ctx context.Context, ref string) ([]leases.Lease, error) {
	all, err := s.Leases.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing leases: %w", err)
	}
	stem := leaseStem(s.Namespace, ref)
	return slices.DeleteFunc(all, func(l leases.Lease) bool {
		return !strings.HasPrefix(l.ID, stem) || alive(l.Labels[LabelOwner]) && !s.abandoned.has(l.ID)
	}), nil
}

// take moves the resources of old under l and deletes old. Snapshots into which a
// dead pull was unpacking are of no use and are removed; those below something else
// stay with old, which then stays too until it expires.
func (l *Lease) take(ctx context.Context, old leases.Lease) error {
	resources, err := l.store.Leases.ListResources(ctx, old)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var unfinished []string
	for _, r := range resources {
		if l.store.isActive(r) {
			unfinished = append(unfinished, r.ID)
			continue
		}
		if err := l.store.Leases.AddResource(ctx, l.lease, r); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	gone, err := l.store.removeAll(ctx, unfinished)
	if !gone || err != nil {
		return err
	}
	if err := l.store.Leases.Delete(ctx, old); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// removeAll removes snapshots, those on top of others first. They are not all gone if
// something else is on top of one.
func (s *Store) removeAll(ctx context.Context, keys []string) (gone bool, err error) {
	for len(keys) > 0 {
		var below []string
		for _, key := range keys {
			err := s.Snapshotter.Remove(ctx, key)
			switch {
			case errdefs.IsFailedPrecondition(err):
				below = append(below, key)
			case err != nil && !errdefs.IsNotFound(err):
				return false, fmt.Errorf("removing the unfinished snapshot %s: %w", key, err)
			}
		}
		if len(below) == len(keys) {
			return false, nil
		}
		keys = below
	}
	return true, nil
}

func (s *Store) isActive(r leases.Resource) bool {
	return r.Type == ResourceSnapshot+s.Name && IsWorkingKey(r.ID)
}

// IsWorkingKey reports whether the key of a snapshot is one that a pull or a check
// gives, for as long as it works.
func IsWorkingKey(key string) bool {
	return strings.HasPrefix(key, ActivePrefix) || strings.HasPrefix(key, viewPrefix)
}

// Delete ends the lease, and with it those of other pulls of the reference that
// died meanwhile; what no image refers to is collected in time.
func (l *Lease) Delete(ctx context.Context) error {
	return errors.Join(l.adopt(ctx), l.delete(ctx))
}

func (l *Lease) delete(ctx context.Context) error {
	err := l.store.Leases.Delete(ctx, l.lease)
	if err != nil && !errdefs.IsNotFound(err) {
		l.Abandon()
		return fmt.Errorf("deleting lease %s: %w", l.lease.ID, err)
	}
	return nil
}

// Abandon ends the pull when the lease cannot be deleted now, because the daemon
// has gone for example: the next pull of the reference adopts the lease, even if
// it is a pull of this process.
func (l *Lease) Abandon() { l.store.abandoned.add(l.lease.ID) }

// abandoned are the IDs of leases whose owner is this process and whose pulls
// have ended.
type abandoned struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (a *abandoned) add(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ids == nil {
		a.ids = map[string]bool{}
	}
	a.ids[id] = true
}

func (a *abandoned) has(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids[id]
}

// Suspend ends the pull but keeps what it fetched: under a lease without an owner,
// for the next pull of the reference to adopt, or under none if no byte was kept.
// It returns the number of bytes kept.
func (l *Lease) Suspend(ctx context.Context) (int64, error) {
	kept, err := l.held(ctx)
	if err != nil {
		return 0, errors.Join(err, l.Delete(ctx))
	}
	if kept == 0 {
		return 0, l.Delete(ctx)
	}
	l.Abandon() // for the case that it cannot be handed on
	heir, err := l.store.newLease(ctx, l.ref, "")
	if err != nil {
		return kept, err
	}
	return kept, heir.take(ctx, l.lease)
}

// held counts the bytes of the blobs and ingests under the lease.
func (l *Lease) held(ctx context.Context) (int64, error) {
	resources, err := l.store.Leases.ListResources(ctx, l.lease)
	if err != nil {
		return 0, fmt.Errorf("listing what lease %s holds: %w", l.lease.ID, err)
	}
	var sum int64
	for _, r := range resources {
		if strings.HasPrefix(r.Type, ResourceSnapshot) {
			continue
		}
		n, err := l.store.SizeOf(ctx, r)
		if err != nil && !errdefs.IsNotFound(err) {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// SizeOf is the number of bytes of r, or errdefs.ErrNotFound. Snapshots of other
// snapshotters than the store's are not looked at.
func (p Parts) SizeOf(ctx context.Context, r leases.Resource) (int64, error) {
	switch r.Type {
	case ResourceIngest:
		status, err := p.Content.Status(ctx, r.ID)
		return status.Offset, err
	case ResourceContent:
		info, err := p.Content.Info(ctx, digest.Digest(r.ID))
		return info.Size, err
	case ResourceSnapshot + p.Name:
		return SnapshotSize(ctx, p.Snapshotter, r.ID)
	}
	return 0, errdefs.ErrNotFound
}

// SnapshotSize is the number of bytes of a snapshot, or errdefs.ErrNotFound. One
// whose files cannot be counted, because they go meanwhile or are gone already, has
// none: a number that is only told must not be what keeps it from being removed.
func SnapshotSize(ctx context.Context, sn snapshots.Snapshotter, name string) (int64, error) {
	usage, err := sn.Usage(ctx, name)
	if err == nil || errdefs.IsNotFound(err) || ctx.Err() != nil {
		return usage.Size, err
	}
	_, err = sn.Stat(ctx, name)
	return 0, err
}

// OfPull reports whether a lease is one of a pull of this program, and whether that
// pull may be running.
func OfPull(l leases.Lease) (is, running bool) {
	is = strings.HasPrefix(l.ID, LeasePrefix) && l.Labels[LabelRef] != ""
	return is, is && alive(l.Labels[LabelOwner])
}

// owner names this process: boot, PID namespace, PID and start time, so that no
// other process is ever taken for it.
func owner() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	started, err := StartTime(statOf(os.Getpid()))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s/%s/%d/%s", strings.TrimSpace(string(boot)), ns, os.Getpid(), started)
}

// alive reports whether the owner of a lease may still be running. A process of
// another PID namespace cannot be seen and is assumed to be alive; its lease ends
// when it expires.
func alive(owned string) bool {
	other := strings.Split(owned, "/")
	own := strings.Split(owner(), "/")
	if len(other) != 4 || len(own) != 4 || other[0] != own[0] {
		return false
	}
	if other[1] != own[1] {
		return true
	}
	var pid int
	if _, err := fmt.Sscan(other[2], &pid); err != nil {
		return false
	}
	started, err := StartTime(statOf(pid))
	return err == nil && started == other[3]
}

// statOf is where the kernel describes a process.
func statOf(pid int) string { return fmt.Sprintf("/proc/%d/stat", pid) }

// StartTime returns field 22 of a /proc/PID/stat: the start time of the process
// in clock ticks since boot (proc_pid_stat(5)).
func StartTime(path string) (string, error) {
	stat, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	// The second field, the command, is in parentheses and may hold spaces.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("%s has %d fields after the name, want 20", path, len(fields))
	}
	return fields[19], nil
}

// Hold reports whether the committed snapshot name exists, and puts it under the
// lease of ctx so that it stays.
func (s *Store) Hold(ctx context.Context, name string) (bool, error) {
	exists, err := s.Has(ctx, name)
	lease, leased := leases.FromContext(ctx)
	if !exists || err != nil || !leased {
		return exists, err
	}
	r := leases.Resource{ID: name, Type: ResourceSnapshot + s.Name}
	if err := s.Leases.AddResource(ctx, leases.Lease{ID: lease}, r); err != nil {
		return false, fmt.Errorf("leasing snapshot %s: %w", name, err)
	}
	return s.Has(ctx, name) // it may have gone before the lease held it
}

// Has reports whether the committed snapshot name exists.
func (s *Store) Has(ctx context.Context, name string) (bool, error) {
	info, err := s.Snapshotter.Stat(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up snapshot %s: %w", name, err)
	}
	return info.Kind == snapshots.KindCommitted, nil
}
