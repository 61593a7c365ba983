package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// stage is what mends a finding.
type stage int

const (
	nothing   stage = iota // can be done about it
	labelling              // set a label
	fetching               // fetch a blob
	unpacking              // unpack layers
)

// repairOptions say how a finding is mended.
type repairOptions struct {
	stage stage
	// desc is the blob to label or to fetch. drop: what is there of it has to go
	// before; it had labels.
	desc   ocispec.Descriptor
	blob   progress.Blob
	drop   bool
	labels map[string]string
	// key and value are the label to set, diffID what has to be proved before.
	// With a parent, key is the digest of the child that the parent is to keep.
	key, value string
	diffID     digest.Digest
	parent     *document
	// unit is to be unpacked, after the snapshot remove is gone.
	unit   *repairUnit
	remove string
}

// maxRounds bounds how often what was mended brings more to light: an index
// first, then a manifest, a config, layers.
const maxRounds = image.MaxDepth + 4

// maxMissed bounds how often a finding is tried again because what it takes to mend it
// was removed meanwhile.
const maxMissed = 2

// Repair checks imgs, mends what it can and checks what it mended. Blobs come
// from the repository of the image's name, by their digests: a tag that points
// elsewhere by now is not followed. Image records stay as they are.
func (c *Checker) Repair(ctx context.Context, imgs []images.Image) (reports []Report, err error) {
	ctx = c.Store.Context(ctx)
	leased, done, err := c.lease(ctx)
	if err != nil {
		return nil, err
	}
	reports, err = c.repair(leased, imgs)
	if derr := done(); err == nil && derr != nil {
		err = derr
	}
	if err != nil {
		return reports, errors.Join(store.WithCause(ctx, err), c.Store.Flush())
	}
	if slices.ContainsFunc(reports, func(r Report) bool { return len(r.Repaired) > 0 }) {
		err = c.Store.Collect(ctx, store.Garbage) // what was removed
	}
	return reports, errors.Join(err, c.Store.Flush())
}

func (c *Checker) repair(ctx context.Context, imgs []images.Image) ([]Report, error) {
	run, err := c.newRun(ctx)
	if err != nil {
		return nil, err
	}
	if err := run.guard.Open(ctx, c.Store, true); err != nil {
		return nil, err
	}
	all, err := run.all(ctx, imgs)
	if err != nil {
		return all, err
	}
	r := newRepairer(run, all)
	damaged := r.damaged(all)
	for range maxRounds {
		if len(damaged) == 0 || !r.pending(damaged) {
			break
		}
		if err := r.mend(ctx, damaged); err != nil {
			return all, err
		}
		if err := run.refresh(ctx); err != nil {
			return all, err
		}
		if damaged, err = run.all(ctx, r.again(damaged)); err != nil {
			return all, err
		}
		r.learn(damaged)
	}
	return all, r.conclude(ctx, all)
}

// again lists the images to check after something was mended.
func (r *repairer) again(damaged []Report) (imgs []images.Image) {
	touched := maps.Clone(r.touched)
	for _, report := range damaged {
		imgs = append(imgs, report.Image)
		delete(touched, report.Image.Name)
	}
	return slices.AppendSeq(imgs, maps.Values(touched))
}

// repairer is one Repair under way.
type repairer struct {
	*run
	sources map[string]*origin      // by name of the image
	tried   map[string]string       // why a finding could not be mended; empty if it was
	missed  map[string]int          // how often what was needed for it was removed meanwhile
	met     map[string][]Finding    // by name of the image, each once
	touched map[string]images.Image // by name, that lost snapshots
	latest  map[string]Report       // of all images that were asked for, by name
	dropped map[digest.Digest]bool  // in this round
}

func newRepairer(run *run, all []Report) *repairer {
	r := &repairer{
		run: run, sources: map[string]*origin{}, tried: map[string]string{}, missed: map[string]int{}, met: map[string][]Finding{},
		touched: map[string]images.Image{}, latest: map[string]Report{},
	}
	r.learn(all)
	return r
}

// learn notes what is known of images by now: a config that was corrupt did not
// say which snapshots are those of its image.
func (r *repairer) learn(all []Report) {
	for _, report := range all {
		r.latest[report.Image.Name] = report
	}
}

// imageUnit is a unit with its image.
type imageUnit struct {
	img  images.Image
	unit *repairUnit
}

func (r *repairer) damaged(all []Report) []Report {
	return slices.DeleteFunc(slices.Clone(all), func(report Report) bool { return report.Whole() })
}

func key(img images.Image, f Finding) string { return img.Name + "\x00" + f.key() }

// pending notes what was found and reports whether something is left to be tried.
func (r *repairer) pending(damaged []Report) (some bool) {
	for _, report := range damaged {
		name := report.Image.Name
		for _, f := range report.Findings {
			_, tried := r.tried[key(report.Image, f)]
			some = some || !tried && f.fix.stage != nothing
			if !slices.ContainsFunc(r.met[name], func(m Finding) bool { return m.key() == f.key() }) {
				r.met[name] = append(r.met[name], f)
			}
		}
	}
	return some
}

// task is a finding to be mended.
type task struct {
	img images.Image
	Finding
}

// mend tries what was not tried yet, in the order in which one thing needs the
// other. Only an error that ends everything is returned.
func (r *repairer) mend(ctx context.Context, damaged []Report) error {
	tasks := map[stage][]task{}
	r.dropped = map[digest.Digest]bool{}
	for _, report := range damaged {
		if err := r.leaseImage(ctx, report); err != nil {
			return err
		}
		for _, f := range report.Findings {
			if _, tried := r.tried[key(report.Image, f)]; !tried {
				tasks[f.fix.stage] = append(tasks[f.fix.stage], task{report.Image, f})
			}
		}
	}
	for _, t := range tasks[labelling] {
		if err := r.done(ctx, t, r.label(ctx, t.fix)); err != nil {
			return err
		}
	}
	if err := r.fetchAll(ctx, tasks[fetching]); err != nil {
		return err
	}
	return r.unpackAll(ctx, tasks[unpacking])
}

// done notes what came of a task. It is tried again, some times, if another client
// removed meanwhile what it needed. Full disks and the end of ctx end everything.
func (r *repairer) done(ctx context.Context, t task, err error) error {
	k := key(t.img, t.Finding)
	if err == nil {
		r.tried[k] = ""
		return nil
	}
	if r.missed[k] < maxMissed && errdefs.IsNotFound(err) && !errors.As(err, new(*source.Error)) {
		r.missed[k]++
		return nil
	}
	r.tried[k] = err.Error()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if store.IsUnwritable(err) {
		return fmt.Errorf("repairing %s: %w", t.img.Name, err)
	}
	return nil
}

// leaseImage keeps what there is of the image from being collected while labels and
// documents are missing that would keep it.
func (r *repairer) leaseImage(ctx context.Context, report Report) error {
	var errs []error
	for _, dgst := range report.held {
		errs = append(errs, r.leaseResource(ctx, store.ResourceContent, dgst.String()))
	}
	for _, p := range report.units {
		for _, name := range p.chain {
			if r.hasSnapshot(name) {
				errs = append(errs, r.leaseResource(ctx, store.ResourceSnapshot+r.Store.Name, name))
			}
		}
	}
	return errors.Join(errs...)
}

// leaseAll keeps everything: a document that is missing cannot say what it
// refers to.
func (r *repairer) leaseAll(ctx context.Context) error {
	err := r.Store.Content.Walk(ctx, func(info content.Info) error {
		return r.leaseResource(ctx, store.ResourceContent, info.Digest.String())
	})
	for name := range r.snapshots {
		err = errors.Join(err, r.leaseResource(ctx, store.ResourceSnapshot+r.Store.Name, name))
	}
	return err
}

// leaseResource puts a resource under the lease of ctx.
func (r *repairer) leaseResource(ctx context.Context, kind, name string) error {
	id, _ := leases.FromContext(ctx)
	err := r.Store.Leases.AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: name, Type: kind})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("leasing %s: %w", name, err)
	}
	return nil
}

// label sets a label, after what it says is proved.
func (r *repairer) label(ctx context.Context, f repairOptions) error {
	desc, key, value := f.desc, f.key, f.value
	switch {
	case f.parent != nil:
		desc, value = f.parent.desc, f.key
		key = image.FreeKey(f.parent.labels, f.parent.children, digest.Digest(value))
	case f.diffID != "":
		if err := proveDiffID(ctx, r.Store.Content, desc, f.diffID); err != nil {
			return err
		}
	}
	info := content.Info{Digest: desc.Digest, Labels: map[string]string{key: value}}
	if _, err := r.Store.Content.Update(ctx, info, "labels."+key); err != nil {
		return fmt.Errorf("labelling %s: %w", desc.Digest, err)
	}
	if f.parent != nil {
		labels := maps.Clone(f.parent.labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[key], f.parent.labels = value, labels
	}
	r.blobs.forget(desc.Digest)
	return nil
}

// origin is where the blobs of an image come from.
type origin struct {
	fetch.Source
	from    source.Source
	fetcher *fetch.Fetcher
	asked   bool
	err     error // why there is none, once it was asked
}

// originOf asks the registry once whether it has the image still, before
// anything is removed for its sake.
func (r *repairer) originOf(ctx context.Context, img images.Image) *origin {
	s := r.unasked(img)
	if !s.asked {
		s.asked = true
		_, s.err = s.from.Resolve(ctx, s.Ref)
	}
	return s
}

// unasked is the origin of what is in the store already: the registry is asked only
// if it goes meanwhile.
func (r *repairer) unasked(img images.Image) *origin {
	s := r.sources[img.Name]
	if s == nil {
		s = &origin{}
		if err := r.open(s, img); err != nil {
			s.from = nowhere{err}
		}
		s.fetcher = fetch.New(s.from, r.Store.Content, r.Progress)
		s.fetcher.Room = r.guard.TakeContent
		r.sources[img.Name] = s
	}
	return s
}

func (r *repairer) open(s *origin, img images.Image) error {
	ref, err := source.ParseRef(img.Name)
	if err != nil || ref.Name != img.Name {
		return fmt.Errorf("the name %q does not say which registry to ask", img.Name)
	}
	if r.Source == nil {
		return errors.New("there is no registry to ask")
	}
	ref.Digest = img.Target.Digest
	s.Source = fetch.From(ref)
	s.from, err = r.Source(ref)
	return err
}

// fetchAll drops what is corrupt and fetches it again.
func (r *repairer) fetchAll(ctx context.Context, tasks []task) error {
	if err := r.leaseOrphans(ctx, tasks); err != nil {
		return err
	}
	for _, t := range tasks {
		s := r.originOf(ctx, t.img)
		err := s.err
		if err == nil && t.fix.drop {
			err = r.dropOnce(ctx, t.fix.desc.Digest)
		}
		if err == nil {
			err = r.fetch(ctx, s, t.fix)
		}
		if err := r.done(ctx, t, err); err != nil {
			return err
		}
	}
	return nil
}

// leaseOrphans keeps everything if something will be dropped, with which a
// collection may come, and a document is missing that would keep its children.
func (r *repairer) leaseOrphans(ctx context.Context, tasks []task) error {
	drops := slices.ContainsFunc(tasks, func(t task) bool { return t.fix.drop })
	missing := slices.ContainsFunc(tasks, func(t task) bool { return !t.fix.drop && t.fix.blob != progress.Layer })
	if !drops || !missing {
		return nil
	}
	return r.leaseAll(ctx)
}

// dropOnce drops a blob unless it was dropped for another image.
func (r *repairer) dropOnce(ctx context.Context, dgst digest.Digest) error {
	if r.dropped[dgst] {
		return nil
	}
	err := r.Store.Drop(ctx, dgst)
	r.dropped[dgst] = err == nil
	return err
}

func (r *repairer) fetch(ctx context.Context, s *origin, f repairOptions) error {
	r.blobs.forget(f.desc.Digest)
	if f.blob == progress.Config && !f.drop {
		r.blank[f.desc.Digest] = true
	}
	labels := maps.Clone(s.Labels)
	maps.Copy(labels, f.labels) // as it was kept, so it shall be
	blob := fetch.Blob{Ref: s.Ref, Desc: f.desc, Kind: f.blob}
	switch {
	case f.blob == progress.Config && f.desc.Size <= image.MaxConfig:
		body, err := s.fetcher.Bytes(ctx, blob)
		if err != nil {
			return err
		}
		return s.fetcher.Put(ctx, blob, body, labels)
	case f.blob != progress.Index && f.blob != progress.Manifest:
		_, err := s.fetcher.Store(ctx, blob, labels)
		return err
	}
	doc, err := s.from.Manifest(ctx, s.Ref, f.desc)
	if err != nil {
		return err
	}
	if !f.drop { // the labels that it had are not known
		children, err := image.ChildrenOf(f.desc, doc.Body)
		if err != nil {
			return err
		}
		maps.Copy(labels, image.Labels(children, images.ChildGCLabels))
	}
	if err := s.fetcher.Put(ctx, blob, doc.Body, labels); err != nil {
		return fmt.Errorf("storing %s %s: %w", f.blob, f.desc.Digest, err)
	}
	return nil
}

// conclude checks once more what was damaged, with nothing remembered.
func (r *repairer) conclude(ctx context.Context, all []Report) error {
	damaged := r.again(r.damaged(all))
	if len(damaged) == 0 {
		return nil
	}
	final, err := r.check(ctx, damaged)
	if err != nil {
		return err
	}
	for _, report := range final {
		name := report.Image.Name
		for i, f := range report.Findings {
			report.Findings[i].Unrepaired = r.tried[key(report.Image, f)]
		}
		for _, f := range r.met[name] {
			if !report.gone && !slices.ContainsFunc(report.Findings, func(left Finding) bool { return left.key() == f.key() }) {
				report.Repaired = append(report.Repaired, f)
			}
		}
		i := slices.IndexFunc(all, func(old Report) bool { return old.Image.Name == name })
		all[i] = report
	}
	return nil
}
