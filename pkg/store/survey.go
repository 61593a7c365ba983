package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/image"
)

// Wanted is what a survey looks for.
type Wanted struct {
	// Blobs have a file of the right size; Documents are read besides, and
	// hashed.
	Blobs, Documents []ocispec.Descriptor
	// Chains are the chain IDs of snapshots, bottom first.
	Chains [][]digest.Digest
}

// Found is what a survey found: an entry for everything that was looked for.
type Found struct {
	Blobs     map[digest.Digest]Blob
	Snapshots map[digest.Digest]Snapshot
}

// Blob is what there is of a blob.
type Blob struct {
	Info *content.Info // its record, nil if there is none
	// Damage says what is wrong with the file of a blob that has a record, and is
	// empty if nothing is.
	Damage string
}

// IsThere reports whether both record and file are there.
func (b Blob) IsThere() bool { return b.Info != nil && b.Damage == "" }

// Snapshot is what there is of a committed snapshot.
type Snapshot struct {
	Info *snapshots.Info // its record, nil if there is none
	// Damage says what is wrong with its folder, as far as it can be seen, and is
	// empty if nothing is.
	Damage string
}

// IsThere reports whether both record and folder are there.
func (s Snapshot) IsThere() bool { return s.Info != nil && s.Damage == "" }

// Survey says what of w is there: its records, and the files that the records
// promise. It asks several questions at once, and changes nothing.
func (s *Store) Survey(ctx context.Context, w Wanted) (Found, error) {
	if len(w.Blobs)+len(w.Documents)+len(w.Chains) == 0 {
		return Found{}, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(questions)
	v := surveyor{Store: s, found: Found{Blobs: map[digest.Digest]Blob{}, Snapshots: map[digest.Digest]Snapshot{}}}
	v.files = sync.OnceValue(func() Files { return s.backend.Files(ctx) })
	g.Go(func() error { // which files are looked at is found out beside the first records
		v.files()
		return nil
	})
	for _, chain := range w.Chains { // first: they take longest
		g.Go(func() error { return v.chain(ctx, chain) })
	}
	for _, desc := range once(w.Documents, nil) {
		g.Go(func() error { return v.blob(ctx, desc, true) })
	}
	for _, desc := range once(w.Blobs, w.Documents) {
		g.Go(func() error { return v.blob(ctx, desc, false) })
	}
	err := g.Wait()
	return v.found, err
}

// once lists each blob of all once, without those of except.
func once(all, except []ocispec.Descriptor) []ocispec.Descriptor {
	seen := map[digest.Digest]bool{}
	for _, desc := range except {
		seen[desc.Digest] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(desc ocispec.Descriptor) bool {
		again := seen[desc.Digest]
		seen[desc.Digest] = true
		return again
	})
}

// surveyor is one Survey.
type surveyor struct {
	*Store
	files func() Files
	mu    sync.Mutex // guards found
	found Found
}

func (v *surveyor) blob(ctx context.Context, desc ocispec.Descriptor, document bool) error {
	b, err := v.look(ctx, v.files, desc, document)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.Blobs[desc.Digest] = b
	return err
}

// look looks at the record and the file of a blob.
func (s *Store) look(ctx context.Context, files func() Files, desc ocispec.Descriptor, document bool) (Blob, error) {
	info, err := s.Content.Info(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return Blob{}, nil
	}
	if err != nil {
		return Blob{}, fmt.Errorf("looking up blob %s: %w", desc.Digest, err)
	}
	b := Blob{Info: &info}
	b.Damage, err = s.damageOf(ctx, files(), info)
	if errdefs.IsNotFound(err) {
		return Blob{}, nil
	}
	if b.Damage != "" || err != nil || !document {
		return b, err
	}
	switch _, err = s.Document(ctx, desc); {
	case errdefs.IsDataLoss(err):
		b.Damage = errors.Unwrap(err).Error()
	case errdefs.IsNotFound(err): // it was collected meanwhile
		b.Info = nil
	default:
		return b, err
	}
	return b, nil
}

// Document reads a small blob back, and hashes it. One that has no record is
// errdefs.ErrNotFound; one whose file is gone, cannot be read or has other bytes
// is errdefs.ErrDataLoss.
func (s *Store) Document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	body, err := s.readDocument(ctx, desc)
	if err == nil && desc.Digest.Algorithm().FromBytes(body) == desc.Digest {
		return body, nil
	}
	what := "its file has other bytes"
	if err != nil {
		what = "its file cannot be read: " + err.Error()
	}
	switch {
	case err != nil && isAbortive(ctx, err):
		return nil, fmt.Errorf("reading %s: %w", desc.Digest, err)
	case errdefs.IsNotFound(err):
		if _, err := s.Content.Info(ctx, desc.Digest); err != nil {
			return nil, fmt.Errorf("reading %s: %w", desc.Digest, err)
		}
		what = "its file is gone"
	}
	return nil, fmt.Errorf("%s: %w", desc.Digest, failure.New(errdefs.ErrDataLoss, "%s", what))
}

// readDocument reads a blob that may lie in memory. The size of its file is that
// store's to say, which may have been made elsewhere.
func (s *Store) readDocument(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	ra, err := s.Content.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	if ra.Size() > image.MaxDocuments {
		return nil, fmt.Errorf("it has %d bytes, want at most %d", ra.Size(), image.MaxDocuments)
	}
	body := make([]byte, ra.Size())
	_, err = io.ReadFull(io.NewSectionReader(ra, 0, ra.Size()), body)
	return body, err
}

// IsWhole reports whether the bytes of a blob are those of its digest. It reads all
// of them.
func (s *Store) IsWhole(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	ra, err := s.Content.ReaderAt(ctx, desc)
	if err == nil {
		sum := desc.Digest.Verifier()
		_, err = io.Copy(sum, content.NewReader(ra))
		if err = errors.Join(err, ra.Close()); err == nil {
			return sum.Verified(), nil
		}
	}
	if isAbortive(ctx, err) {
		return false, fmt.Errorf("reading %s: %w", desc.Digest, err)
	}
	return false, nil
}

// isAbortive reports whether err says nothing about what was looked at.
func isAbortive(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errdefs.IsUnavailable(err) || errdefs.IsCanceled(err) || errdefs.IsDeadlineExceeded(err) || errors.Is(err, ErrUnavailable)
}

// chain looks at the records of a chain, and at the folders of those snapshots
// that have one, up to the first that has none.
func (v *surveyor) chain(ctx context.Context, chain []digest.Digest) error {
	all, damage, err := v.chainRecords(ctx, chain)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(all, func(s Snapshot) bool { return s.Info == nil })
	if n < 0 {
		n = len(chain)
	}
	if damage == nil {
		if damage, err = v.files().ChainDamage(ctx, chain[:n]); err != nil {
			return err
		}
	}
	for i := range n {
		if err := v.addDamage(ctx, &all[i], damage[i]); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, id := range chain {
		v.found.Snapshots[id] = all[i]
	}
	return nil
}

// addDamage believes damage only of a snapshot whose record is still there, as
// damageOf does of a blob.
func (v *surveyor) addDamage(ctx context.Context, of *Snapshot, damage string) (err error) {
	if damage == "" {
		return nil
	}
	of.Damage = damage
	if of.Info, err = v.committed(ctx, of.Info.Name, of.Info.Parent); of.Info == nil {
		of.Damage = ""
	}
	return err
}

// chainRecords looks at the records of a chain. Nearly always all of them are there
// or none, and no snapshot goes before those on top of it: where the top is there,
// the folders are looked at meanwhile.
func (v *surveyor) chainRecords(ctx context.Context, chain []digest.Digest) (all []Snapshot, damage []string, err error) {
	all = make([]Snapshot, len(chain))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(questions)
	for i, id := range slices.Backward(chain) {
		parent := digest.Digest("")
		if i > 0 {
			parent = chain[i-1]
		}
		g.Go(func() (err error) {
			all[i].Info, err = v.committed(ctx, id.String(), parent.String())
			if i == len(chain)-1 && all[i].Info != nil && err == nil {
				damage, err = v.files().ChainDamage(ctx, chain)
			}
			return err
		})
	}
	err = g.Wait()
	return all, damage, err
}

// ChainDamage says for each snapshot of a chain, bottom first, what is wrong with its
// folder, as far as it can be seen. All of them have records.
func (s *Store) ChainDamage(ctx context.Context, chain []digest.Digest) ([]string, error) {
	return s.backend.Files(ctx).ChainDamage(ctx, chain)
}

// BlobDamage says what can be seen to be wrong with the file of a blob that has a
// record, and is empty if that is nothing. If the record has gone meanwhile, it is
// an errdefs.ErrNotFound.
func (s *Store) BlobDamage(ctx context.Context, info content.Info) (string, error) {
	return s.damageOf(ctx, s.backend.Files(ctx), info)
}

// damageOf believes damage only if the record is still there afterwards: a
// collection removes the record first, and then the file.
func (s *Store) damageOf(ctx context.Context, files Files, info content.Info) (string, error) {
	damage, err := files.BlobDamage(ctx, info)
	if damage == "" || err != nil {
		return damage, err
	}
	if _, err := s.Content.Info(ctx, info.Digest); err != nil {
		return "", fmt.Errorf("looking up blob %s again: %w", info.Digest, err)
	}
	return damage, nil
}

// committed returns the record of the snapshot name, nil if there is none. One
// that is not committed on top of parent, "" for the first of a chain, is an
// errdefs.ErrDataLoss.
func (s *Store) committed(ctx context.Context, name, parent string) (*snapshots.Info, error) {
	info, err := s.Snapshotter.Stat(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up snapshot %s: %w", name, err)
	}
	if info.Kind != snapshots.KindCommitted || info.Parent != parent {
		return nil, failure.New(errdefs.ErrDataLoss, "snapshot %s is %s on %q, want committed on %q", name, info.Kind, info.Parent, parent)
	}
	return &info, nil
}

// Refill makes the files of the active snapshot key, which are in u, those of the
// committed snapshot name, whose own are lost, so that what is on top of that one
// finds its files again. The caller removes key.
func (s *Store) Refill(ctx context.Context, name, key string, u *Upper) error {
	if err := s.backend.Refill(ctx, name, key, u); err != nil {
		return fmt.Errorf("filling snapshot %s again: %w", name, err)
	}
	return nil
}

// Denied gives an error of a file that this user may not use the class ErrUnsafe and
// a way out; any other error stays as it is.
func Denied(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	return failure.New(ErrUnsafe, "%w", err).WithHint("run this as the user who owns that file, or give the owner its mode back")
}

// FolderDamage says what is wrong with the folder of a layer beneath that of the
// snapshotter, and is empty if nothing is. inodes are those that its record counts,
// the folder's own among them; 0 if they are not known.
func FolderDamage(root *os.File, name string, inodes int64) (string, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(root.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT, err == unix.ENOTDIR:
		return "its folder is gone", nil
	case err != nil:
		return "", fmt.Errorf("looking at the folder of a snapshot: %w", Denied(&os.PathError{Op: "stat", Path: path.Join(root.Name(), name), Err: err}))
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return "there is something else in place of its folder", nil
	case inodes > 1 && mayBeEmpty(&st) && isEmpty(root, name):
		return fmt.Sprintf("its folder is empty, and had %d files", inodes-1), nil
	}
	return "", nil
}

// mayBeEmpty is false for a folder with folders in it, which nearly every layer has:
// ext4 and XFS count them as links. Btrfs counts one link, whatever there is.
func mayBeEmpty(st *unix.Stat_t) bool { return st.Nlink <= 2 }

// isEmpty reports whether a folder can be listed, and has nothing in it.
func isEmpty(root *os.File, name string) bool {
	fd, err := unix.Openat(int(root.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	_, err = dir.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// Drop removes a blob, record and file, so that it can be written again. What the
// blob keeps comes under the lease of ctx before. Other namespaces have it again when
// it is written.
func (s *Store) Drop(ctx context.Context, dgst digest.Digest) error {
	s.dropping.Lock()
	defer s.dropping.Unlock()
	return s.drop(ctx, dgst)
}

// drop is Drop for callers that have the lock.
func (s *Store) drop(ctx context.Context, dgst digest.Digest) error {
	info, err := s.Content.Info(ctx, dgst)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = s.leaseReferred(ctx, info.Labels)
	}
	if err == nil {
		err = s.backend.Drop(ctx, ocispec.Descriptor{Digest: dgst, Size: info.Size})
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing the damaged blob %s: %w", dgst, err)
	}
	return nil
}

// Evict removes the file of a wrong size in the place of a blob that has no record
// here, so that it can be written. Records of other namespaces come back when it is; if
// they say another size than desc, nothing is removed, and the error is
// errdefs.ErrInvalidArgument.
func (s *Store) Evict(ctx context.Context, desc ocispec.Descriptor) error {
	s.dropping.Lock()
	defer s.dropping.Unlock()
	if err := s.backend.Drop(ctx, desc); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing what lies in the place of blob %s: %w", desc.Digest, err)
	}
	return nil
}

// leaseReferred puts what labels refer to under the lease of ctx.
func (s *Store) leaseReferred(ctx context.Context, labels map[string]string) error {
	for _, r := range References(labels) {
		if err := s.lease(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// References lists what labels keep from being collected, as containerd reads them: a
// key may go on behind the snapshotter, with a slash, or behind the kind of content. A
// value that can be no digest refers to nothing.
func References(labels map[string]string) (all []leases.Resource) {
	for key, value := range labels {
		rest, isSnapshot := strings.CutPrefix(key, image.LabelSnapshot)
		switch {
		case isSnapshot:
			name, _, _ := strings.Cut(rest, "/")
			all = append(all, leases.Resource{ID: value, Type: ResourceSnapshot + name})
		case strings.HasPrefix(key, image.LabelContent) && digest.Digest(value).Validate() == nil:
			all = append(all, leases.Resource{ID: value, Type: ResourceContent})
		}
	}
	return all
}

// lease puts r, which need not be there, under the lease of ctx, if there is one.
func (s *Store) lease(ctx context.Context, r leases.Resource) error {
	id, leased := leases.FromContext(ctx)
	if !leased {
		return nil
	}
	if err := s.Leases.AddResource(ctx, leases.Lease{ID: id}, r); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("leasing %s: %w", r.ID, err)
	}
	return nil
}

// honest is a content store that does not take the record of a blob for the blob.
type honest struct {
	content.Store
	of *Store
}

// Writer implements content.Ingester. A blob exists if its file does as well, and
// a document if its bytes are right; what is damaged is dropped and written anew.
func (h honest) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := h.writer(ctx, opts)
	if !errdefs.IsAlreadyExists(err) {
		return w, err
	}
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	there, lerr := h.dropDamaged(ctx, o.Desc)
	if lerr != nil {
		return nil, lerr
	}
	if there {
		return nil, err
	}
	return h.writer(ctx, opts)
}

// writer opens an ingest while no blob is being dropped: one whose record has gone
// before its file would be taken for the blob.
func (h honest) writer(ctx context.Context, opts []content.WriterOpt) (content.Writer, error) {
	h.of.dropping.RLock()
	defer h.of.dropping.RUnlock()
	return h.Store.Writer(ctx, opts...)
}

// dropDamaged reports whether a blob is there, and drops it if it is damaged. Others
// of this process that want to write it wait, lest they drop what was written
// meanwhile.
func (h honest) dropDamaged(ctx context.Context, desc ocispec.Descriptor) (there bool, err error) {
	h.of.dropping.Lock()
	defer h.of.dropping.Unlock()
	b, err := h.of.look(ctx, func() Files { return h.of.backend.Files(ctx) }, desc, isDocument(desc))
	if err != nil || b.Info == nil || b.Damage == "" {
		return b.IsThere(), err
	}
	return false, h.of.drop(ctx, desc.Digest)
}

// isDocument reports whether a blob is small enough to be read whole, and what is
// read back from a store to be understood.
func isDocument(desc ocispec.Descriptor) bool {
	return desc.Size <= image.MaxConfig && !images.IsLayerType(desc.MediaType)
}
