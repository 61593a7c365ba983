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

// comparing is the comparison of the snapshots of one chain with its layers.
type comparing struct {
	*walk
	unit  *repairUnit
	dirs  []*os.File      // of the snapshots, bottom first
	known map[string]bool // paths that are wrong in a layer below
	// scratch has the layers below height, where each snapshot also holds what is
	// below it.
	scratch *scratch
	height  int
}

// compare compares the snapshots of p with its layers, from the bottom up. Each
// layer is applied once more, to a snapshot beside them that is then removed.
func (w *walk) compare(ctx context.Context, p *repairUnit) (err error) {
	if w.Store.Name == store.Erofs {
		return failure.New(errdefs.ErrFailedPrecondition, "--deep cannot compare the EROFS images of snapshotter erofs with layers").
			WithHint("without --deep, verify finds images that are gone or empty")
	}
	dirs, err := w.folders(ctx, p)
	if err != nil {
		if changed, cerr := w.changed(ctx, p, w.countThere(p)); changed || cerr != nil {
			return cerr
		}
		return fmt.Errorf("--deep needs the files of the snapshots: %w", err)
	}
	defer store.CloseAll(dirs)
	c := &comparing{walk: w, unit: p, dirs: dirs, known: map[string]bool{}}
	defer func() { err = errors.Join(err, c.close(ctx)) }()
	for i := range dirs { // where a snapshot is missing, all above it are
		more, err := c.layer(ctx, i)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// layer compares one snapshot and reports what is found, unless it was found for
// another image. There is no more to compare above one that is gone.
func (c *comparing) layer(ctx context.Context, i int) (more bool, err error) {
	name := c.unit.chain[i]
	found := c.trees[name]
	if found == nil {
		found, err = c.one(ctx, i)
		if err != nil || len(found.differences) > 0 || found.gone {
			if changed, cerr := c.changed(ctx, c.unit, i+1); changed || cerr != nil {
				return false, cerr
			}
		}
		if err != nil {
			return false, fmt.Errorf("comparing the files of layer %s: %w", c.unit.layers[i].Digest, err)
		}
		if found.skipped == "" { // another image may have the layer
			c.trees[name] = found
		}
	}
	c.addComparison(c.unit, i, found)
	for _, d := range found.differences {
		c.known[d.path] = true
	}
	return !found.gone, nil
}

// changed reports whether one of the first n snapshots of p is not the one that was
// listed: another client has removed it, or made it anew. What was found in its folder
// says nothing then.
func (w *walk) changed(ctx context.Context, p *repairUnit, n int) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	for i, name := range p.chain[:n] {
		info, err := w.Store.Snapshotter.Stat(ctx, name)
		switch {
		case errdefs.IsNotFound(err):
			delete(w.report.seen.snapshots, name)
			w.found(Finding{
				Kind: Snapshot, Platform: p.platform, Digest: digest.Digest(name), fix: repairOptions{stage: unpacking, unit: p},
				Message: fmt.Sprintf("the snapshot of layer %s was removed while it was checked", p.layers[i].Digest),
			})
			return true, nil
		case err != nil:
			return false, fmt.Errorf("looking up snapshot %s: %w", name, err)
		case !info.Created.Equal(w.snapshots[name].Created):
			w.note("the files of layer %s and of those above it were not compared: the snapshot was made anew meanwhile", p.layers[i].Digest)
			return true, nil
		}
	}
	return false, nil
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

// one applies layer i beside its snapshot and compares the two.
func (c *comparing) one(ctx context.Context, i int) (*comparison, error) {
	p := c.unit
	switch v := p.verdicts[i]; {
	case c.dirs[i] == nil:
		return &comparison{gone: true}, nil
	case v.kind == Missing:
		return &comparison{skipped: "the layer is not in the content store"}, nil
	case v.kind != "":
		return &comparison{skipped: "the layer is corrupt"}, nil
	}
	if err := c.prepare(ctx, i); err != nil {
		return nil, err
	}
	dir := c.scratch.upper.Dir
	c.height = -1 // whatever comes of it
	got, unfit, err := c.apply(ctx, dir, p, i, c.dirs[:i])
	switch {
	case errdefs.IsNotFound(err): // it was collected meanwhile
		return &comparison{skipped: "the layer is not in the content store"}, nil
	case errdefs.IsInvalidArgument(err):
		return &comparison{kind: Malformed, text: err.Error()}, nil
	case err != nil:
		return nil, err
	case got != p.diffIDs[i]:
		return &comparison{kind: DiffID, text: fmt.Sprintf("got diff ID %s, want %s", got, p.diffIDs[i])}, nil
	case len(unfit) > 0 && !sameFileSystem(dir, c.dirs[i]):
		return &comparison{skipped: "the folder for temporary files cannot hold it: " + unfit[0]}, nil
	}
	c.height = i + 1
	t := trees{got: beneath.Path(c.dirs[i]), want: beneath.Path(dir), known: c.known, stop: func() error { return context.Cause(ctx) }}
	err = t.compare()
	return &comparison{differences: t.found, more: t.more}, err
}

// prepare makes a scratch to apply layer i to, or goes on with that of the layer below
// if it holds what the layer goes on top of.
func (c *comparing) prepare(ctx context.Context, i int) (err error) {
	if c.copies() && c.scratch != nil && c.height == i {
		return nil
	}
	if err := c.close(ctx); err != nil {
		return err
	}
	parent := ""
	if c.copies() && i > 0 {
		parent = c.unit.chain[i-1]
	}
	c.scratch, err = c.newScratch(ctx, parent)
	return err
}

// close removes the scratch.
func (c *comparing) close(ctx context.Context) error {
	if c.scratch == nil {
		return nil
	}
	s := c.scratch
	c.scratch = nil
	return s.close(ctx)
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

// newScratch makes one, under the lease of ctx: on the snapshotter's own file system, or
// in the folder for temporary files where the store is only looked at.
func (w *walk) newScratch(ctx context.Context, parent string) (*scratch, error) {
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
		o.Whiteouts, o.Lowers = lay.Overlay, lay.Folders(lowers)
		slices.Reverse(o.Lowers)
	}
	return w.applyBlob(ctx, p.layers[i], dir, p.diffIDs[i].Algorithm(), o)
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

func (r *run) applyBlob(ctx context.Context, desc ocispec.Descriptor, dir *os.File, algorithm digest.Algorithm, o lay.Options) (got digest.Digest, unfit []string, err error) {
	plain, err := openLayer(ctx, r.Store.Content, desc)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	sum := algorithm.Digester()
	result, err := lay.Apply(ctx, lay.Folder(dir), io.TeeReader(r.guard.Reader(plain), sum.Hash()), o)
	if err != nil {
		return "", nil, err
	}
	return sum.Digest(), result.Warnings, nil
}
