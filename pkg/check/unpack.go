package check

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// unpackAll removes damaged snapshots with all that are on top of them, and
// unpacks what is missing then.
func (r *repairer) unpackAll(ctx context.Context, tasks []task) error {
	refused, err := r.removeDamaged(ctx, tasks)
	if err != nil {
		return err
	}
	unpacked := map[*repairUnit]error{}
	for _, t := range tasks {
		err := refused[t.fix.remove]
		if err == nil {
			var done bool
			if err, done = unpacked[t.fix.unit]; !done {
				err = r.unpack(ctx, t)
				unpacked[t.fix.unit] = err
			}
		}
		if err := r.done(ctx, t, err); err != nil {
			return err
		}
	}
	return nil
}

// unpack unpacks what is missing of the chain of a unit.
func (r *repairer) unpack(ctx context.Context, t task) error {
	p := t.fix.unit
	s, err := r.layerSource(ctx, t.img, p, nil)
	if err != nil {
		return err
	}
	u := unpack.New(unpack.Options{
		Store: r.Store, Fetcher: s.fetcher, Progress: r.Progress, Scheduler: unpack.NewScheduler(r.Store, limit(r.Downloads), limit(r.Unpacks)),
		Bounds: r.Bounds, Guard: r.guard,
	})
	_, err = u.Unpack(ctx, unpack.Image{Source: s.Source, Layers: p.layers, DiffIDs: p.diffIDs})
	for _, l := range p.layers {
		r.blobs.forget(l.Digest)
	}
	return err
}

// layerSource is where the layers of a unit come from when the snapshots gone
// are. It needs no registry if all that are to be unpacked are in the content
// store.
func (r *repairer) layerSource(ctx context.Context, img images.Image, p *repairUnit, gone []snapshots.Info) (*origin, error) {
	first := slices.IndexFunc(p.chain, func(name string) bool {
		return !r.hasSnapshot(name) || r.lost[name] != "" || slices.ContainsFunc(gone, func(info snapshots.Info) bool { return info.Name == name })
	})
	for _, l := range p.layers[max(first, 0):] {
		v, err := r.blobs.judge(ctx, l, consumer{img.Name, progress.Layer})
		if err != nil {
			return nil, err
		}
		if v.kind != "" {
			s := r.originOf(ctx, img)
			return s, s.err
		}
	}
	return r.unasked(img), nil
}

// removeDamaged removes snapshots to have them made anew, and those on top of
// them.
func (r *repairer) removeDamaged(ctx context.Context, tasks []task) (refused map[string]error, err error) {
	refused = map[string]error{}
	for _, t := range tasks {
		name := t.fix.remove
		if name == "" || refused[name] != nil || !r.hasSnapshot(name) {
			continue
		}
		above, err := r.above(ctx, name)
		if err != nil {
			return nil, err
		}
		if refused[name] = r.removable(ctx, above); refused[name] == nil {
			refused[name] = r.remove(ctx, above)
		}
	}
	return refused, nil
}

// remove removes snapshots, the last one first, and has every image looked at
// again that counted on them.
func (r *repairer) remove(ctx context.Context, all []snapshots.Info) error {
	for _, c := range r.counting(all) {
		r.touched[c.img.Name] = c.img
	}
	for _, info := range slices.Backward(all) {
		if err := r.Store.Snapshotter.Remove(ctx, info.Name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing snapshot %s: %w", info.Name, err)
		}
		delete(r.snapshots, info.Name)
		delete(r.trees, info.Name)
	}
	return nil
}

// counting lists what counts on one of the snapshots.
func (r *repairer) counting(all []snapshots.Info) (found []imageUnit) {
	for _, report := range r.latest {
		for _, p := range report.units {
			if slices.ContainsFunc(all, func(info snapshots.Info) bool { return slices.Contains(p.chain, info.Name) }) {
				found = append(found, imageUnit{report.Image, p})
			}
		}
	}
	return found
}

// above lists the snapshot name and all that are on top of it, each after its
// parent; none if another client has removed it.
func (r *repairer) above(ctx context.Context, name string) ([]snapshots.Info, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	if !r.hasSnapshot(name) {
		return nil, nil
	}
	all := []snapshots.Info{r.snapshots[name]}
	for i := 0; i < len(all); i++ {
		for _, info := range r.snapshots {
			if info.Parent == all[i].Name {
				all = append(all, info)
			}
		}
	}
	return all, nil
}

// removable refuses snapshots of which one is not of the images being repaired,
// because a container runs on it or another image counts on it, and those whose
// layers are not to be had.
func (r *repairer) removable(ctx context.Context, all []snapshots.Info) error {
	for _, info := range all {
		switch {
		case !isCommitted(info):
			return fmt.Errorf("snapshot %s is in use on top of it", info.Name)
		case len(r.counting([]snapshots.Info{info})) == 0:
			return fmt.Errorf("snapshot %s of another image is on top of it: repair all images at once", info.Name)
		}
	}
	for _, c := range r.counting(all) {
		if !c.unit.unpacked {
			continue
		}
		if _, err := r.layerSource(ctx, c.img, c.unit, all); err != nil {
			return err
		}
	}
	return nil
}
