package check

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// cleanupTime bounds what must happen after a cancel.
const cleanupTime = 10 * time.Second

// comparison is what was found out about the files of one snapshot.
type comparison struct {
	differences []difference
	more        int
	gone        bool   // there is no folder
	skipped     string // why nothing was compared
	kind        Kind   // of what is wrong with the layer itself
	text        string
}

// compare compares the snapshots of p with its layers, from the bottom up. Each
// layer is applied once more, to a snapshot beside them that is then removed.
func (w *walk) compare(ctx context.Context, p *repairUnit) error {
	dirs, err := w.folders(ctx, p)
	if err != nil {
		return fmt.Errorf("--deep needs the files of the snapshots: %w", err)
	}
	defer store.CloseAll(dirs)
	known := map[string]bool{}
	for i, name := range p.chain[:len(dirs)] { // where a snapshot is missing, all above it are
		c := w.trees[name]
		if c == nil {
			if c, err = w.compareOne(ctx, p, i, dirs[:i+1], known); err != nil {
				return fmt.Errorf("comparing the files of layer %s: %w", p.layers[i].Digest, err)
			}
			if c.skipped == "" { // another image may have the layer
				w.trees[name] = c
			}
		}
		w.addComparison(p, i, c)
		for _, d := range c.differences {
			known[d.path] = true
		}
		if c.gone {
			return nil
		}
	}
	return nil
}

// addComparison reports what a comparison found.
func (w *walk) addComparison(p *repairUnit, i int, c *comparison) {
	damaged := Finding{Kind: Tree, Platform: p.platform, Digest: digest.Digest(p.chain[i]), fix: repairOptions{stage: unpacking, unit: p, remove: p.chain[i]}}
	switch {
	case c.skipped != "":
		w.note("the files of layer %s were not compared: %s", p.layers[i].Digest, c.skipped)
		return
	case c.kind != "":
		w.found(Finding{Kind: c.kind, Platform: p.platform, Digest: p.layers[i].Digest, Message: "layer: " + c.text})
		return
	case c.gone:
		damaged.Message = fmt.Sprintf("the folder of the snapshot of layer %s is gone", p.layers[i].Digest)
		w.found(damaged)
		return
	}
	w.report.Compared++
	for _, d := range c.differences {
		damaged.Path, damaged.Message = d.path, d.text
		w.found(damaged)
	}
	if c.more > 0 {
		damaged.Path, damaged.Message = "", fmt.Sprintf("%d more differences", c.more)
		w.found(damaged)
	}
}

// folders opens the folder of each snapshot of the chain that there is, bottom
// first; one that is gone is nil.
func (w *walk) folders(ctx context.Context, p *repairUnit) ([]*os.File, error) {
	there := w.countThere(p)
	if lost := slices.IndexFunc(p.chain[:there], func(name string) bool { return w.lost[name] != "" }); lost >= 0 {
		w.note("the files of layer %s and of those above it were not compared: %s", p.layers[lost].Digest, w.lost[p.chain[lost]])
		there = lost
	}
	if there == 0 {
		return nil, nil
	}
	if w.copies() {
		return w.copiesOf(ctx, p.chain[:there])
	}
	all, err := w.Store.Lowers(ctx, p.chain[there-1])
	if err != nil {
		return nil, err
	}
	if len(all) != there {
		store.CloseAll(all)
		return nil, failure.New(errdefs.ErrFailedPrecondition, "the snapshotter shows %d folders for %d layers", len(all), there)
	}
	slices.Reverse(all)
	return all, nil
}

// copiesOf opens the folders of snapshots that have one each.
func (w *walk) copiesOf(ctx context.Context, chain []string) (dirs []*os.File, err error) {
	for _, name := range chain {
		all, err := w.Store.Lowers(ctx, name)
		if err != nil {
			store.CloseAll(dirs)
			return nil, err
		}
		dirs = append(dirs, all...)
	}
	return dirs, nil
}

// copies reports whether each snapshot also holds everything that is below it.
func (w *walk) copies() bool { return w.Store.Name == store.Native }

// compareOne applies layer i of p beside its snapshot and compares the two.
// dirs are the folders of the snapshots up to that one.
func (w *walk) compareOne(ctx context.Context, p *repairUnit, i int, dirs []*os.File, known map[string]bool) (c *comparison, err error) {
	switch v := p.verdicts[i]; {
	case dirs[i] == nil:
		return &comparison{gone: true}, nil
	case v.kind == Missing:
		return &comparison{skipped: "the layer is not in the content store"}, nil
	case v.kind != "":
		return &comparison{skipped: "the layer is corrupt"}, nil
	}
	parent := ""
	if w.copies() && i > 0 {
		parent = p.chain[i-1]
	}
	scratch, err := w.scratch(ctx, parent)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scratch.close(ctx)) }()
	got, unfit, err := w.apply(ctx, scratch.upper.Dir, p, i, dirs[:i])
	switch {
	case errdefs.IsNotFound(err): // it was collected meanwhile
		return &comparison{skipped: "the layer is not in the content store"}, nil
	case errdefs.IsInvalidArgument(err):
		return &comparison{kind: Malformed, text: err.Error()}, nil
	case err != nil:
		return nil, err
	case got != p.diffIDs[i]:
		return &comparison{kind: DiffID, text: fmt.Sprintf("got diff ID %s, want %s", got, p.diffIDs[i])}, nil
	case len(unfit) > 0 && !sameFileSystem(scratch.upper.Dir, dirs[i]):
		return &comparison{skipped: "the folder for temporary files cannot hold it: " + unfit[0]}, nil
	}
	t := trees{got: beneath.Path(dirs[i]), want: beneath.Path(scratch.upper.Dir), known: known, stop: func() error { return context.Cause(ctx) }}
	if err = t.compare(); err != nil {
		return nil, err
	}
	return &comparison{differences: t.found, more: t.more}, nil
}

// sameFileSystem reports whether what one folder can hold the other can hold as well.
func sameFileSystem(a, b *os.File) bool {
	var one, other unix.Stat_t
	return unix.Fstat(int(a.Fd()), &one) == nil && unix.Fstat(int(b.Fd()), &other) == nil && one.Dev == other.Dev
}

// scratch is an active snapshot to apply a layer to.
type scratch struct {
	store *store.Store
	key   string
	upper *store.Upper
}

// scratch makes one, under the lease of ctx: on the snapshotter's own file system, or
// in the folder for temporary files where the store is only looked at.
func (w *walk) scratch(ctx context.Context, parent string) (*scratch, error) {
	s := &scratch{store: w.Store, key: store.ActivePrefix + "verify-" + rand.Text()[:12]}
	mounts, err := w.Store.Snapshotter.Prepare(ctx, s.key, parent)
	if err != nil {
		return nil, fmt.Errorf("preparing a snapshot: %w", err)
	}
	ok, reason := w.Store.Writable()
	if ok {
		s.upper, reason = w.Store.Upper(ctx, s.key, mounts)
	}
	if s.upper == nil || s.upper.Dir == nil {
		err := failure.New(errdefs.ErrFailedPrecondition, "the files cannot be compared: %s", reason)
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *scratch) close(ctx context.Context) error {
	if s.upper != nil {
		s.upper.Close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if err := s.store.Snapshotter.Remove(ctx, s.key); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing the snapshot %s: %w", s.key, err)
	}
	return nil
}

// apply applies layer i of p to dir as it was when its snapshot was made, and
// returns its diff ID, and what the file system of dir cannot hold of it.
func (w *walk) apply(ctx context.Context, dir *os.File, p *repairUnit, i int, lowers []*os.File) (got digest.Digest, unfit []string, err error) {
	o := lay.Options{Whiteouts: lay.InPlace}
	if i > 0 && !w.copies() {
		if o.UserXattr, err = w.mountsUserXattr(ctx, p.chain[i-1]); err != nil {
			return "", nil, err
		}
		o.Whiteouts, o.Lowers = lay.Overlay, slices.Clone(lowers)
		slices.Reverse(o.Lowers)
	}
	return applyBlob(ctx, w.Store.Content, p.layers[i], dir, p.diffIDs[i].Algorithm(), o)
}

// mountsUserXattr reports whether the snapshotter mounts with the option userxattr
// on top of the snapshot parent, and so on top of any.
func (r *run) mountsUserXattr(ctx context.Context, parent string) (bool, error) {
	if r.userXattr == nil {
		is, err := r.Store.UserXattr(ctx, parent)
		if err != nil {
			return false, fmt.Errorf("asking for the options of mounts: %w", err)
		}
		r.userXattr = &is
	}
	return *r.userXattr, nil
}

func applyBlob(ctx context.Context, from content.Provider, desc ocispec.Descriptor, dir *os.File, algorithm digest.Algorithm, o lay.Options) (got digest.Digest, unfit []string, err error) {
	plain, err := openLayer(ctx, from, desc)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	sum := algorithm.Digester()
	result, err := lay.Apply(ctx, dir, io.TeeReader(plain, sum.Hash()), o)
	if err != nil {
		return "", nil, err
	}
	return sum.Digest(), result.Warnings, nil
}
